"""What a registry says it has: names become addresses and lines on a terminal, so nothing but names is taken."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.unit.registry.scripted import registry
from wardian.errors import WardianError
from wardian.oci.digest import sha256
from wardian.oci.model import MANIFEST, canonical
from wardian.oci.reference import Reference
from wardian.registry.catalog import Catalog

WHERE = Reference("registry.example", "acme/image")
IMAGE = canonical(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/x", "digest": sha256(b""), "size": 0},
        "layers": [],
    }
)


def catalog(answers: Mapping[str, httpx.Response]) -> Catalog:
    """One of a registry that answers these paths, and 404 for all else."""

    def serve(request: httpx.Request) -> httpx.Response:
        key = request.url.raw_path.decode().removeprefix("/v2/")
        return answers.get(f"{request.method} {key}") or answers.get(key) or httpx.Response(404)

    return Catalog(registry(serve))


def tags(*names: Any, **headers: str) -> httpx.Response:
    return httpx.Response(200, json={"name": "acme/image", "tags": list(names)}, headers=headers)


def test_tags_of_all_pages_are_sorted_and_each_once() -> None:
    found = catalog(
        {
            "acme/image/tags/list?n=1000": tags("b", "a", link='</v2/acme/image/tags/list?n=1000&last=b>; rel="next"'),
            "acme/image/tags/list?n=1000&last=b": tags("c", "a"),
        }
    )
    assert found.tags(WHERE) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "name", ["../../secret", "a/b", "a b", "\x1b[2J", "", "-x", "x" * 129, "ä", 5, None, ["a"], "a\n", "a?b=c"]
)
def test_what_is_no_tag_is_refused(name: Any) -> None:
    with pytest.raises(WardianError, match="answers something else for repository acme/image") as raised:
        catalog({"acme/image/tags/list?n=1000": tags("fine", name)}).tags(WHERE)
    assert raised.value.message.isprintable()


@pytest.mark.parametrize("name", ["../x", "Upper", "\x1b[31mred", "a//b", "a/", "a" * 256, 7])
def test_what_is_no_repository_is_refused(name: Any) -> None:
    answer = httpx.Response(200, json={"repositories": ["acme/image", name]})
    with pytest.raises(WardianError, match="answers something else for the list of repositories"):
        catalog({"_catalog?n=1000": answer}).repositories("registry.example")


@pytest.mark.parametrize("body", [{"tags": None}, {}, {"tags": []}])
def test_an_empty_repository_has_no_tags(body: Mapping[str, Any]) -> None:
    assert catalog({"acme/image/tags/list?n=1000": httpx.Response(200, json=body)}).tags(WHERE) == []


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ('<https://evil.example/v2/x>; rel="next"', "continues repository acme/image at evil.example, another host"),
        ('</v2/acme/image/tags/list?n=1000>; rel="next"', "never ends repository acme/image"),
    ],
)
def test_pages_that_lead_elsewhere_or_in_circles(link: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardian.registry.catalog._LONGEST", 3)
    with pytest.raises(WardianError, match=why):
        catalog({"acme/image/tags/list?n=1000": tags("a", link=link)}).tags(WHERE)


def test_a_digest_is_what_the_header_says_if_it_is_one() -> None:
    said = sha256(b"said")
    head = httpx.Response(200, headers={"docker-content-digest": said})
    assert catalog({"HEAD acme/image/manifests/1": head}).digest(WHERE, "1") == said


@pytest.mark.parametrize("said", [{}, {"docker-content-digest": "sha256:../x"}, {"docker-content-digest": "md5:1"}])
def test_else_it_is_that_of_the_manifest(said: Mapping[str, str]) -> None:
    found = catalog(
        {
            "HEAD acme/image/manifests/1": httpx.Response(200, headers=said),
            "GET acme/image/manifests/1": httpx.Response(200, content=IMAGE, headers={"content-type": MANIFEST}),
        }
    )
    assert found.digest(WHERE, "1") == sha256(IMAGE)


def test_a_manifest_that_cannot_be_deleted_is_said_and_one_that_is_gone_is_no_fault() -> None:
    path = f"DELETE acme/image/manifests/{sha256(b'')}"
    assert catalog({path: httpx.Response(202)}).delete(WHERE, sha256(b""))
    assert not catalog({path: httpx.Response(404)}).delete(WHERE, sha256(b""))
    with pytest.raises(WardianError, match="does not allow deleting acme/image@"):
        catalog({path: httpx.Response(405)}).delete(WHERE, sha256(b""))


def test_an_index_is_listed_with_what_it_names_and_what_is_lost_is_passed_over() -> None:
    lost = sha256(b"lost")
    index = canonical(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {"mediaType": MANIFEST, "digest": sha256(IMAGE), "size": len(IMAGE), "platform": {"os": "linux"}},
                {"mediaType": MANIFEST, "digest": lost, "size": 1},
            ],
        }
    )
    kind = {"content-type": "application/vnd.oci.image.index.v1+json"}
    found = catalog(
        {
            "acme/image/tags/list?n=1000": tags("1"),
            "HEAD acme/image/manifests/1": httpx.Response(200, headers={"docker-content-digest": sha256(index)}),
            f"acme/image/manifests/{sha256(index)}": httpx.Response(200, content=index, headers=kind),
            f"acme/image/manifests/{sha256(IMAGE)}": httpx.Response(
                200, content=IMAGE, headers={"content-type": MANIFEST}
            ),
        }
    )
    whole, child = found.survey(WHERE)
    assert (whole.digest, whole.tags, whole.children) == (sha256(index), ("1",), (sha256(IMAGE), lost))
    assert (child.digest, child.tags, child.platforms, whole.platforms) == (sha256(IMAGE), (), ("linux",), ("linux",))

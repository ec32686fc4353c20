"""Where a push goes, by what was typed."""

import pytest

from wardian.errors import SpecError, WardianError
from wardian.oci.reference import Reference
from wardian.plan.destinations import Destination, has_host, repository


@pytest.mark.parametrize(
    ("text", "exact", "plain", "reference", "tags"),
    [
        ("localhost:5000", False, False, "localhost:5000/train", ("1", "2")),
        ("localhost:5000/lab", False, False, "localhost:5000/lab/train", ("1", "2")),
        ("localhost:5000/lab/", False, False, "localhost:5000/lab/train", ("1", "2")),
        ("localhost:5000/lab/mine:7", True, False, "localhost:5000/lab/mine", ("7",)),
        ("ghcr.io/acme", False, False, "ghcr.io/acme/train", ("1", "2")),
        ("acme/lab", False, False, "docker.io/acme/lab/train", ("1", "2")),
        ("http://registry.lab:5000/team", False, True, "registry.lab:5000/team/train", ("1", "2")),
        ("http://registry.lab/team/x:y", True, True, "registry.lab/team/x", ("y",)),
    ],
)
def test_a_place_is_read(text: str, exact: bool, plain: bool, reference: str, tags: tuple[str, ...]) -> None:
    where = Destination.parse(text)
    assert (where.exact, where.plain) == (exact, plain)
    target, found = where.of("train", ("1", "2"))
    named = repository(target)
    assert f"{named.registry}/{named.repository}" == reference
    assert found == tags


@pytest.mark.parametrize("text", ["", "http://", "/", f"ghcr.io/x@sha256:{'0' * 64}"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="no place to push to"):
        Destination.parse(text)


def test_a_place_that_no_registry_takes_is_refused() -> None:
    with pytest.raises(WardianError, match="may hold a-z"):
        Destination.parse("ghcr.io/Acme").of("train", ())


def test_a_name_stands_below_the_place_unless_it_is_whole() -> None:
    where = Destination.parse("ghcr.io/acme")
    assert where.named("train:1") == Reference("ghcr.io", "acme/train", "1")
    assert where.named("quay.io/other/train:1") == Reference("quay.io", "other/train", "1")


@pytest.mark.parametrize(
    ("text", "says"),
    [("demo/train:1", False), ("train:1", False), ("localhost/x", True), ("a:1/x", True), ("ghcr.io/x", True)],
)
def test_which_references_say_their_registry(text: str, says: bool) -> None:
    assert has_host(text) is says

"""[mounts] become binds: where packages are is told by the image."""

import posixpath
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import SpecError
from wardian.plan.containers import Bind
from wardian.plan.mounts import absolute, binds, package_of, site, target, unknown
from wardian.spec.models import Mount

OURS: Mapping[str, Any] = {
    "Labels": {"dev.wardian.python": "3.11"},
    "Env": ["VIRTUAL_ENV=/opt/env", "PATH=/opt/env/bin"],
}
VENV = "/opt/env/lib/python3.11/site-packages"
DEBIAN, LOCAL, CONDA = (
    "/usr/lib/python3/dist-packages",
    "/usr/local/lib/python3.11/site-packages",
    "/opt/conda/lib/python3.10/site-packages",
)


def made(mounts: Mapping[str, Mount], config: Mapping[str, Any] = OURS, **sites: Any) -> list[Bind]:
    return binds(mounts, config, sites.get("sites", {}), root="/proj", home="/home/anna")


def test_a_package_lies_in_the_environment_that_the_labels_tell() -> None:
    assert made({"a": Mount(source="/src/rsl_rl", target="@site-packages/rsl_rl")}) == [
        Bind("/src/rsl_rl", f"{VENV}/rsl_rl")
    ]
    assert target("@site-packages/google/cloud/", OURS, {}) == f"{VENV}/google/cloud"
    assert target("@site-packages/six.py", OURS, {LOCAL: ["six.py"]}) == f"{VENV}/six.py"


@pytest.mark.parametrize("config", [{}, {"Env": ["VIRTUAL_ENV=/opt/venv"]}, {"Labels": {"dev.wardian.python": "3.11"}}])
def test_without_both_label_and_environment_the_config_does_not_tell(config: Mapping[str, Any]) -> None:
    mounts = {"a": Mount(source="/x", target="@site-packages/x")}
    assert site(config) is None
    assert unknown(mounts, config)
    assert not unknown(mounts, OURS)
    assert not unknown({"a": Mount(source="/x", target="/x")}, config)
    assert not unknown({"a": Mount(source="/x", target="@site-packages/x", enabled=False)}, config)


@pytest.mark.parametrize(
    ("path", "sites", "expected"),
    [
        ("/usr/bin", {DEBIAN: ["x"], LOCAL: [], CONDA: []}, DEBIAN),  # the one that holds it
        ("/opt/conda/bin:/usr/bin", {DEBIAN: ["x"], LOCAL: ["x"], CONDA: ["x"]}, CONDA),  # the first on PATH
        ("/opt/conda/bin:/usr/bin", {DEBIAN: ["x"], CONDA: []}, DEBIAN),
        ("/usr/local/bin:/usr/bin", {DEBIAN: [], LOCAL: []}, LOCAL),  # nobody holds it: PATH
        ("/usr/bin:/bin", {DEBIAN: [], "/usr/lib/python3.11/site-packages": []}, "/usr/lib/python3.11/site-packages"),
        ("", {CONDA: ["x.py"], LOCAL: []}, CONDA),
    ],
)
def test_of_several_folders_one_is_chosen(path: str, sites: Mapping[str, list[str]], expected: str) -> None:
    assert target("@site-packages/x", {"Env": [f"PATH={path}"]}, sites) == f"{expected}/x"


def test_an_image_without_packages_is_an_error_that_names_the_mount() -> None:
    with pytest.raises(
        SpecError, match=r"mounts\.a: the image has no folder of Python packages \(give the package's abs"
    ):
        made({"a": Mount(source="/x", target="@site-packages/x")}, {})


def test_mounts_that_are_off_are_not_looked_at() -> None:
    mounts = {
        "declared": Mount(target="@site-packages/x"),
        "off": Mount(source="/x", target="@site-packages/x", enabled=False),
        "empty": Mount(target="/x", enabled=False),
    }
    assert made(mounts, {}) == []


def test_on_without_a_source_is_an_error() -> None:
    with pytest.raises(SpecError, match=r"mounts\.a: has no source \(type: wardian mount set a PATH\)"):
        made({"a": Mount(target="/x", enabled=True)})


def test_every_fault_at_once() -> None:
    mounts = {
        "a": Mount(target="/x", enabled=True),
        "b": Mount(source="/1", target="/same"),
        "c": Mount(source="/2", target="/same/../same/"),
        "d": Mount(source="/3", target="@site-packages/../../x"),
    }
    with pytest.raises(SpecError) as caught:
        made(mounts)
    assert [str(fault) for fault in caught.value.faults] == [
        "mounts.a: has no source (type: wardian mount set a PATH)",
        "mounts.c: is at /same, and so is b (type: wardian mount disable c)",
        "mounts.d: '@site-packages/../../x' leads out of the packages (give an absolute path)",
    ]


def test_two_spellings_of_one_target() -> None:
    mounts = {"a": Mount(source="/1", target="@site-packages/x"), "b": Mount(source="/2", target=f"{VENV}/x")}
    with pytest.raises(SpecError, match=r"mounts\.b"):
        made(mounts)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("src", "/proj/src"),
        ("../data/", "/data"),
        ("~", "/home/anna"),
        ("~/a", "/home/anna/a"),
        ("./~", "/proj/~"),
        ("~bob", "/proj/~bob"),
        ("/a/../b", "/b"),
        ("a b\n", "/proj/a b\n"),
    ],
)
def test_sources(source: str, expected: str) -> None:
    assert absolute(source, "/proj", "/home/anna") == expected


@pytest.mark.parametrize(
    ("written", "expected"), [("/a", None), ("@site-packages/a", "a"), ("@site-packages/a//b/./c", "a/b/c")]
)
def test_packages(written: str, expected: str | None) -> None:
    assert package_of(written) == expected


@pytest.mark.parametrize(("written", "expected"), [("//data", "/data"), ("/a/../b/", "/b"), ("/", "/")])
def test_absolute_targets_are_plain(written: str, expected: str) -> None:
    assert target(written, {}, {}) == expected


PARTS = st.lists(st.sampled_from(["a", "b c", ".", "..", "", "é", "$x", "~"]), max_size=5)


@given(PARTS, st.sampled_from(["/proj", "/proj/deep/er", "/"]))
def test_a_source_is_what_a_shell_in_that_folder_would_open(parts: list[str], root: str) -> None:
    written = "/".join(parts)
    found = absolute(written, root, "/home/anna")
    assert found.startswith("/")
    assert ".." not in found.split("/")
    assert absolute(found, "/elsewhere", "/nobody") == found, "twice is once"
    if not written.startswith("~"):
        assert found == posixpath.normpath(f"{root.rstrip('/')}/{written}" if not written.startswith("/") else written)


@given(st.text(alphabet="ab/.~@ ", max_size=12))
def test_no_package_leads_out_of_the_packages(text: str) -> None:
    try:
        found = target(f"@site-packages/{text}", OURS, {})
    except SpecError:
        return
    assert found.startswith(f"{VENV}/")
    assert posixpath.normpath(found) == found
    assert found != VENV


@given(
    st.dictionaries(st.sampled_from("abcde"), st.tuples(st.sampled_from(["/x", "/x/", "/y", "/x//y"]), st.booleans()))
)
def test_two_mounts_that_are_on_are_never_at_one_place(drawn: dict[str, tuple[str, bool]]) -> None:
    mounts = {name: Mount(source="/s", target=place, enabled=on) for name, (place, on) in drawn.items()}
    wanted = [posixpath.normpath(place) for place, on in drawn.values() if on]
    if len(set(wanted)) < len(wanted):
        with pytest.raises(SpecError, match="and so is"):
            made(mounts)
    else:
        assert [bind.target for bind in made(mounts)] == wanted

"""Paths that two distributions bring are found by twelve bytes each, whatever else they bring."""

import io
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from tests.wheels import as_file, wheel
from wardian.oci.collisions import Collision, collisions, footprint, mark
from wardian.oci.splice import write_wheels
from wardian.oci.wheel import Placed, install

SITE = "opt/env/lib/python3.11/site-packages"


def marks_of(files: Mapping[str, bytes]) -> bytes:
    return footprint(Placed(path, 0o644, content) for path, content in files.items())


def found(*brought: tuple[str, Mapping[str, bytes]]) -> dict[tuple[str, str], tuple[set[int], set[int]]]:
    told = collisions([(owner, marks_of(files)) for owner, files in brought])
    return {(one.hidden, one.seen): (set(one.files), set(one.folders)) for one in told}


def named(*paths: str) -> set[int]:
    return {mark(path) for path in paths}


def test_the_upper_of_two_hides_what_differs() -> None:
    low, high = {"cv2/a.py": b"1", "cv2/b.py": b"1", "same": b"x"}, {"cv2/a.py": b"2", "cv2/b.py": b"2", "same": b"x"}
    assert found(("low", low), ("high", high)) == {("low", "high"): (named("cv2/a.py", "cv2/b.py"), set())}
    assert found(("high", high), ("low", low)) == {("high", "low"): (named("cv2/a.py", "cv2/b.py"), set())}


def test_what_two_bring_alike_is_no_collision() -> None:
    """NVIDIA's wheels all bring the same empty nvidia/__init__.py."""
    assert found(("a", {"nvidia/__init__.py": b"", "nvidia/a/x": b"1"}), ("b", {"nvidia/__init__.py": b""})) == {}


def test_of_three_the_uppermost_is_seen() -> None:
    one, two = {"x": b"1"}, {"x": b"2"}
    assert found(("a", one), ("b", two), ("c", one)) == {("b", "c"): (named("x"), set())}


def test_a_file_where_another_has_a_folder_is_told_apart() -> None:
    for content in (b"", b"x"):
        assert found(("file", {"a/b": content}), ("folder", {"a/b/c": b""})) == {
            ("file", "folder"): (set(), named("a/b"))
        }
        assert found(("folder", {"a/b/c": b""}), ("file", {"a/b": content})) == {
            ("folder", "file"): (set(), named("a/b"))
        }


paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
trees = st.dictionaries(paths, st.sampled_from([b"", b"1", b"2"]), max_size=6)


@given(st.lists(trees, max_size=4))
def test_it_is_as_if_the_paths_were_compared_themselves(given_trees: list[dict[str, bytes]]) -> None:
    def kinds(tree: Mapping[str, bytes]) -> dict[str, bytes | None]:
        parts = [path.split("/") for path in tree]
        folders = {"/".join(one[:depth]) for one in parts for depth in range(1, len(one))}
        return {**tree, **dict.fromkeys(folders)}

    expected: dict[tuple[str, str], tuple[set[int], set[int]]] = {}
    for low, tree in enumerate(given_trees):
        for path, content in kinds(tree).items():
            above = [at for at in range(low + 1, len(given_trees)) if path in kinds(given_trees[at])]
            if above and (seen := kinds(given_trees[above[-1]])[path]) != content:
                pair = expected.setdefault((str(low), str(above[-1])), (set(), set()))
                pair[None in (seen, content)].add(mark(path))
    assert found(*((str(at), tree) for at, tree in enumerate(given_trees))) == expected


def test_a_layer_tells_what_each_of_its_wheels_brought_in_their_order() -> None:
    files = {name: as_file(wheel(name, files={"tests/__init__.py": name.encode()}), name) for name in ("b", "a")}
    blob = write_wheels(io.BytesIO(), list(files.values()), prefix="/opt/env", python="3.11")
    expected = [
        (f"{name}==1.0", footprint(install(files[name], prefix="/opt/env", python="3.11").files)) for name in "ab"
    ]
    assert list(blob.brought) == expected
    path = frozenset(named(f"{SITE}/tests/__init__.py"))
    assert collisions(blob.brought) == [Collision("a==1.0", "b==1.0", path, frozenset())]

"""Where an image has packages."""

from pathlib import Path

import pytest

from tests.images import Content, add_image, layer
from wardian.store.sites import imports, sites, tops
from wardian.store.store import Store

SITE = "opt/conda/lib/python3.10/site-packages"
FILES: dict[str, Content] = {
    f"{SITE}/rsl_rl/__init__.py": b"",
    f"{SITE}/rsl_rl_lib-2.3.1.dist-info/RECORD": b"rsl_rl/__init__.py,,\nrsl_rl_lib-2.3.1.dist-info/RECORD,,\n",
    f"{SITE}/rsl_rl/vendor/site-packages/x.py": b"",
    "usr/lib/python3/dist-packages/six.py": b"",
    "usr/lib64/python3.9/site-packages/y.py": b"",
    "usr/share/site-packages/z.py": b"",
}


def test_folders_and_names(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    digest = add_image(store, "a:1", [layer(FILES), layer({f"{SITE}/.wh.rsl_rl": b"", f"{SITE}/new.py": b""})]).digest
    expected = {
        f"/{SITE}": ("new.py", "rsl_rl_lib-2.3.1.dist-info"),
        "/usr/lib/python3/dist-packages": ("six.py",),
        "/usr/lib64/python3.9/site-packages": ("y.py",),
    }
    assert sites(store, digest) == expected


def test_layers_are_read_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    image = add_image(store, "a:1", [layer(FILES)])
    first = sites(store, image.digest)
    for blob in store.manifest(image.digest).layers:
        store.path(blob.digest).unlink()
    assert sites(store, image.digest) == first


def test_a_store_that_is_closed_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise PermissionError

    store = Store(tmp_path / "store")
    digest = add_image(store, "a:1", [layer(FILES)]).digest
    monkeypatch.setattr("wardian.store.listing.write_file", closed)
    assert sorted(sites(store, digest)) == [
        f"/{SITE}",
        "/usr/lib/python3/dist-packages",
        "/usr/lib64/python3.9/site-packages",
    ]
    assert not (store.root / "listings").exists() or not list((store.root / "listings").iterdir())


def test_a_layer_that_was_listed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another image on the same layers, as each build makes one: what it has is known from them."""
    store = Store(tmp_path / "store")
    first = add_image(store, "a:1", [layer(FILES)]).digest
    second = add_image(store, "a:2", [layer(FILES)], config={"Env": ["A=1"]}).digest
    assert first != second
    found = sites(store, first)

    def never(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("wardian.store.listing.walk", never)
    assert sites(store, second) == found


def test_a_large_image_is_said_to_take_time_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    digest = add_image(store, "a:1", [layer(FILES)]).digest
    monkeypatch.setattr("wardian.store.sites.LARGE", 1)
    said: list[str] = []
    for _ in range(2):
        sites(store, digest, said.append)
    assert len(said) == 1
    assert "looking for Python packages in " in said[0]


def test_what_is_imported_of_a_distribution(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    digest = add_image(store, "a:1", [layer(FILES)]).digest
    assert imports(store, digest, "RSL.rl-lib") == ("rsl_rl",)
    assert imports(store, digest, "rsl") == ()


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("", ()),
        ("a/b.py,sha256=x,1\na/c.py,,\nx.py,,\nx-1.dist-info/METADATA,,\n__pycache__/x.pyc,,\n", ("a", "x.py")),
        ('"we,ird/x.py",,\n../../../bin/tool,,\nx.pth,,\n', ("we,ird",)),
    ],
)
def test_records(record: str, expected: tuple[str, ...]) -> None:
    assert tops(record) == expected

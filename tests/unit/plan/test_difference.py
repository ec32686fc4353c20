"""What changed between two images."""

from typing import Any

from wardian.plan.difference import changed, difference, settings, versions
from wardian.plan.looking import ImageSeen, LayerSeen


def image(layers: str, packages: tuple[str, ...] = (), **config: Any) -> ImageSeen:
    seen = tuple(LayerSeen(f"sha256:{name}", 1, name) for name in layers)
    return ImageSeen("x", f"sha256:{layers}", platform="linux/amd64", layers=seen, packages=packages, config=config)


def test_layers_are_compared_by_digest() -> None:
    found = difference(image("abc"), image("acd"))
    assert [layer.title for layer in found.removed] == ["b"]
    assert [layer.title for layer in found.added] == ["d"]
    assert [layer.title for layer in found.common] == ["a", "c"]


def test_the_same_is_no_difference() -> None:
    one = image("ab", ("numpy==1",), Env=["A=b"])
    found = difference(one, one)
    assert (found.removed, found.added, found.packages, found.config) == ((), (), (), ())


def test_packages_come_go_and_change() -> None:
    found = difference(
        image("a", ("numpy==1.0", "git=1:2", "gone==3")), image("a", ("numpy==2.0", "git=1:3", "new==1"))
    )
    assert found.packages == (
        ("git (deb)", "1:2", "1:3"),
        ("gone", "3", None),
        ("new", None, "1"),
        ("numpy", "1.0", "2.0"),
    )


def test_pins_of_two_worlds_are_told_apart() -> None:
    assert versions(["git==1", "git=2", "odd", "x==1.0+cpu", "y=1:2~b=c"]) == {
        "git": "1",
        "git (deb)": "2",
        "x": "1.0+cpu",
        "y (deb)": "1:2~b=c",
    }


def test_config_is_compared_key_by_key() -> None:
    before = image("a", Env=["PATH=/bin", "X=1", "EMPTY="], Labels={"l": "1"}, Entrypoint=["a", "b c"], User="0")
    after = image("a", Env=["PATH=/usr/bin"], Labels={"l": "2"}, Entrypoint=["a"], Cmd=["c"], WorkingDir="/w")
    assert difference(before, after).config == (
        ("cmd", None, "['c']"),
        ("entrypoint", "['a', 'b c']", "['a']"),
        ("env EMPTY", "", None),
        ("env PATH", "/bin", "/usr/bin"),
        ("env X", "1", None),
        ("label l", "1", "2"),
        ("user", "0", None),
        ("workingdir", None, "/w"),
    )


def test_a_config_may_be_empty_in_many_ways() -> None:
    assert settings(ImageSeen("x", "d", config={"Env": None, "Labels": None, "Cmd": None})) == {}
    assert settings(ImageSeen("x", "d", platform="linux/arm64")) == {"platform": "linux/arm64"}


def test_changed_is_sorted_and_silent_about_what_is_alike() -> None:
    assert changed({"b": "1", "a": "1", "c": "1"}, {"c": "1", "a": "2"}) == (("a", "1", "2"), ("b", "1", None))


def test_json_holds_all_of_it() -> None:
    data = difference(image("ab", ("x==1",)), image("bc")).to_json()
    assert [layer["title"] for layer in data["layers"]["removed"]] == ["a"]
    assert data["layers"]["common"] == ["sha256:b"]
    assert data["packages"] == [{"name": "x", "before": "1", "after": None}]

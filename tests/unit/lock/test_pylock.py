"""Locks of distributions: one file for each, nothing of the machine, nothing that does not fit."""

import tomllib

import pytest
from packaging.pylock import Pylock

from wardian.errors import SpecError, WardianError
from wardian.lock.model import Built
from wardian.lock.pylock import (
    Pinned,
    Target,
    filename,
    filename_of,
    normalised,
    pins,
    portable,
    read,
    select,
    wheels,
    write,
)

HASH = "0123456789abcdef" * 4
TARGET = Target("3.11", "linux/amd64", 36)


def package(
    name: str, version: str, *wheel_names: str, sdist: str | None = None, extra: str = "", base: str = "https://f/"
) -> str:
    listed = ", ".join(f'{{ url = "{base}{one}", hashes = {{ sha256 = "{HASH}" }} }}' for one in wheel_names)
    lines = ["[[packages]]", f'name = "{name}"', f'version = "{version}"', extra]
    lines += [f"wheels = [{listed}]"] if wheel_names else []
    lines += [f'sdist = {{ url = "{base}{sdist}", hashes = {{ sha256 = "{HASH}" }} }}'] if sdist else []
    return "\n".join(lines) + "\n"


def answer(*packages: str) -> str:
    return 'lock-version = "1.0"\ncreated-by = "uv"\n' + "".join(packages)


ANY = package("a", "1", "a-1-py3-none-any.whl", sdist="a-1.tar.gz")


def test_the_best_wheel_is_taken() -> None:
    text = answer(
        package(
            "a",
            "1",
            "a-1-py3-none-any.whl",
            "a-1-cp311-cp311-manylinux_2_17_x86_64.whl",
            "a-1-cp310-cp310-manylinux_2_17_x86_64.whl",
        )
    )
    assert [one.filename for one in select(text, TARGET)] == ["a-1-cp311-cp311-manylinux_2_17_x86_64.whl"]


@pytest.mark.parametrize(
    ("tag", "platform", "glibc", "fits"),
    [
        ("cp311-cp311-manylinux2014_x86_64", "linux/amd64", 36, True),
        ("cp311-cp311-manylinux1_x86_64", "linux/amd64", 36, True),
        ("cp38-abi3-manylinux_2_28_x86_64", "linux/amd64", 36, True),
        ("cp311-cp311-manylinux_2_36_x86_64", "linux/amd64", 35, False),
        ("cp311-cp311-linux_x86_64", "linux/amd64", 36, True),
        ("cp312-cp312-manylinux_2_17_x86_64", "linux/amd64", 36, False),
        ("cp311-cp311-manylinux_2_17_aarch64", "linux/amd64", 36, False),
        ("cp311-cp311-manylinux_2_17_aarch64", "linux/arm64", 36, True),
        ("cp311-cp311-manylinux_2_12_aarch64", "linux/arm64", 36, False),
        ("cp311-cp311-musllinux_1_2_x86_64", "linux/amd64", 36, False),
        ("cp311-cp311-win_amd64", "linux/amd64", 36, False),
        ("py2.py3-none-any", "linux/arm64/v8", 36, True),
        ("cp311-cp311-manylinux_2_17_ppc64le.manylinux2014_ppc64le", "linux/ppc64le", 36, True),
    ],
)
def test_what_fits(tag: str, platform: str, glibc: int, *, fits: bool) -> None:
    text = answer(package("a", "1", f"a-1-{tag}.whl"))
    if fits:
        assert len(select(text, Target("3.11", platform, glibc))) == 1
    else:
        with pytest.raises(WardianError, match=r"No wheel found .* 'a': nothing fits Python 3.11 on "):
            select(text, Target("3.11", platform, glibc))


def test_a_source_distribution_when_no_wheel_fits() -> None:
    text = answer(package("a", "1", "a-1-cp39-cp39-win_amd64.whl", sdist="a-1.tar.gz"))
    assert select(text, TARGET)[0].kind == "sdist"


def test_a_source_distribution_when_it_is_asked_for() -> None:
    assert select(answer(ANY), TARGET)[0].kind == "wheel"
    assert select(answer(ANY), TARGET, from_source={"a"})[0].filename == "a-1.tar.gz"


def test_markers_are_the_targets() -> None:
    text = answer(ANY, package("w", "1", "w-1-py3-none-any.whl", extra="marker = \"sys_platform == 'win32'\""))
    assert [one.name for one in select(text, TARGET)] == ["a"]


@pytest.mark.parametrize(
    "source", ['vcs = { type = "git", url = "https://g/x", commit-id = "abc" }', 'directory = { path = "." }']
)
def test_what_has_no_bytes_is_refused(source: str) -> None:
    with pytest.raises(WardianError, match="x is a working tree or a repository, which cannot be locked"):
        select(answer(f'[[packages]]\nname = "x"\n{source}\n'), TARGET)


def test_a_file_without_a_hash_is_refused() -> None:
    text = answer(ANY.replace("sha256", "md5"))
    with pytest.raises(WardianError, match="has no SHA-256"):
        select(text, TARGET)


def archive(url: str) -> str:
    return f'[[packages]]\nname = "a"\nversion = "1"\narchive = {{ url = "{url}", hashes = {{ sha256 = "{HASH}" }} }}\n'


def test_an_archive_for_another_platform_is_refused() -> None:
    text = answer(archive("https://f/a-1-cp311-cp311-macosx_11_0_arm64.whl"))
    with pytest.raises(
        WardianError,
        match=r"a-1-cp311-cp311-macosx_11_0_arm64.whl does not fit Python 3.11 on linux/amd64 with glibc 2.36",
    ):
        select(text, TARGET)


def test_places_of_this_machine_and_secrets_stay_here() -> None:
    text = answer(
        package("a", "1", "a-1-py3-none-any.whl", base="file:///opt/secret/"),
        package("b", "1", "b-1-py3-none-any.whl", base="https://ada:s3cret@corp/files/"),
        package("c", "1+x", "c-1+x-py3-none-any.whl".replace("+", "%2B"), base="https://mirror/"),
    )
    moved = {"https://mirror/": "https://pypi/"}
    found = select(
        text,
        TARGET,
        canonical=lambda url: next((url.replace(old, new) for old, new in moved.items() if url.startswith(old)), url),
    )
    written = write(found, TARGET)
    assert [one.url for one in found] == [
        "",
        "https://corp/files/b-1-py3-none-any.whl",
        "https://pypi/c-1%2Bx-py3-none-any.whl",
    ]
    assert "secret" not in written
    assert "s3cret" not in written
    assert found[2].filename == "c-1+x-py3-none-any.whl"


def test_it_is_a_standard_lock() -> None:
    direct = Pinned("z", "2", "wheel", "z-2-py3-none-any.whl", "https://z/z-2-py3-none-any.whl", HASH, direct=True)
    text = write((*select(answer(ANY), TARGET, requested={"a"}), direct), TARGET)
    lock = Pylock.from_dict(tomllib.loads(text))
    assert [package.name for package, _ in lock.select(environment=TARGET.environment(), tags=TARGET.tags())] == [
        "a",
        "z",
    ]
    assert lock.environments
    assert read(text) == (*select(answer(ANY), TARGET, requested={"a"}), direct)


def test_the_same_pins_give_the_same_text() -> None:
    first = select(answer(ANY, package("b", "1", "b-1-py3-none-any.whl")), TARGET)
    assert write(first, TARGET) == write(tuple(reversed(first)), TARGET)


BUILT = Built(
    name="a",
    version="1",
    sdist_url="u",
    sdist_sha256=HASH,
    filename="a-1-cp311-cp311-linux_x86_64.whl",
    sha256=HASH[::-1],
)


def test_wheels_of_a_lock() -> None:
    text = write(
        select(answer(ANY, package("b", "2", "b-2-py3-none-any.whl")), TARGET, requested={"b"}, from_source={"a"}),
        TARGET,
    )
    found = wheels(text, python="3.11", platform="linux/amd64", built=(BUILT,))
    assert [(one.name, one.filename, one.url, one.requested) for one in found] == [
        ("a", BUILT.filename, "", False),
        ("b", "b-2-py3-none-any.whl", "https://f/b-2-py3-none-any.whl", True),
    ]
    assert found[0].built == BUILT


def test_a_source_distribution_needs_its_wheel() -> None:
    text = write(select(answer(ANY), TARGET, from_source={"a"}), TARGET)
    with pytest.raises(WardianError, match="a is locked as a source distribution, but no wheel of it is"):
        wheels(text, python="3.11", platform="linux/amd64")
    assert wheels(text, python="3.11", platform="linux/amd64", inherited=("a==1",))[0].filename == "a-1.tar.gz"


def test_a_lock_of_another_platform_is_refused() -> None:
    text = write(select(answer(package("a", "1", "a-1-cp311-cp311-manylinux_2_17_x86_64.whl")), TARGET), TARGET)
    with pytest.raises(WardianError, match=r"does not fit Python 3\.12"):
        wheels(text, python="3.12", platform="linux/amd64")
    with pytest.raises(WardianError, match="on linux/arm64"):
        wheels(text, python="3.11", platform="linux/arm64")


def test_a_wheel_that_is_not_named_like_one() -> None:
    text = answer(archive("https://f/a.whl"))
    with pytest.raises(WardianError, match="is not the name of a wheel"):
        select(text, TARGET)


@pytest.mark.parametrize("text", ["", "[", "lock-version = 3", 'lock-version = "9.0"\ncreated-by = "x"\npackages = []'])
def test_a_broken_lock_is_named(text: str) -> None:
    with pytest.raises(SpecError, match=r"pylock.x.toml: not a lock of Python distributions"):
        read(text, source="pylock.x.toml")


def test_a_distribution_without_a_file_is_named() -> None:
    with pytest.raises(SpecError, match=r"pylock.x.toml: a: has no file"):
        read(
            answer('[[packages]]\nname = "a"\nversion = "1"\nvcs = { type = "git", url = "u", commit-id = "c" }\n'),
            source="pylock.x.toml",
        )


def test_pins() -> None:
    assert pins(answer(ANY)) == {"a": "1"}


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        ("train", "pylock.train.toml"),
        ("rl-puffer-base", "pylock.rl-puffer-base.toml"),
        ("train[python=3.11,cuda=12.4.1]", "pylock.train-python-3_11-cuda-12_4_1.toml"),
        ("a_b.c", "pylock.a_b_c.toml"),
    ],
)
def test_file_names(variant: str, name: str) -> None:
    assert filename(variant) == name


def test_names_and_places() -> None:
    assert normalised("Foo.Bar__baz") == "foo-bar-baz"
    assert filename_of("https://h/a%2Bb.whl?x=1#sha256=0") == "a+b.whl"
    assert portable("https://u:p@h/a#x") == "https://h/a"
    assert portable("file:///a") == ""
    assert portable("") == ""


@pytest.mark.parametrize(("glibc", "value"), [(36, "36"), (41, "40"), (30, "28"), (17, "17"), (12, "17")])
def test_the_platform_that_uv_is_told(glibc: int, value: str) -> None:
    assert Target("3.11", "linux/arm64", glibc).uv_platform == f"aarch64-manylinux_2_{value}"

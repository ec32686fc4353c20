"""What moved between two locks."""

from wardian.lock.changes import changes, summary
from wardian.lock.model import Base, Built, Deb, Lock, LockedImage, Tool
from wardian.lock.pylock import Pinned, Target, write

HASH = "0" * 64


def deb(name: str, version: str) -> Deb:
    return Deb(name=name, version=version, architecture="amd64", url="u", sha256=HASH, size=1)


def pylock(**versions: str) -> str:
    pins = [
        Pinned(name, version, "wheel", f"{name}-{version}-py3-none-any.whl", "", HASH)
        for name, version in versions.items()
    ]
    return write(pins, Target("3.11", "linux/amd64"))


def image(
    *debs: Deb, digest: str | None = None, pylock: str | None = None, built: tuple[Built, ...] = ()
) -> LockedImage:
    base = Base(reference="python:3.11", digest=digest) if digest else None
    return LockedImage(
        inputs=HASH, base=base, debs=debs, pylock=pylock, pylock_sha256=HASH if pylock else None, built=built
    )


def lock(**images: LockedImage) -> Lock:
    return Lock(images=images)


def test_nothing_moved() -> None:
    one = lock(a=image(deb("git", "1"), pylock="p"))
    assert changes(one, one, {"p": pylock(torch="2")}, {"p": pylock(torch="2")}) == []
    assert summary([]) == []


def test_versions_move_come_and_go() -> None:
    before = lock(a=image(deb("git", "1"), deb("curl", "7"), digest="sha256:" + "a" * 64, pylock="p"))
    after = lock(a=image(deb("git", "2"), deb("wget", "3"), digest="sha256:" + "b" * 64, pylock="p"))
    found = changes(before, after, {"p": pylock(torch="1", numpy="1")}, {"p": pylock(torch="2", pandas="3")})
    assert summary(found) == [
        "a:",
        "    python:3.11 sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb",
        "  - curl 7",
        "    git 1 → 2",
        "  + wget 3",
        "  - numpy 1",
        "  + pandas 3",
        "    torch 1 → 2",
    ]


def test_a_python_that_moves_is_told() -> None:
    before, after = (lock(a=image(digest="sha256:1").model_copy(update={"python": one})) for one in ("3.11", "3.12"))
    assert summary(changes(before, after, {}, {})) == ["a:", "    python 3.11 → 3.12"]


def test_a_lock_with_both_sides_of_a_merge_can_be_made_anew() -> None:
    one = lock(a=image(pylock="p"))
    found = changes(one, one, {"p": "<<<<<<< HEAD\n"}, {"p": pylock(torch="2")})
    assert summary(found) == ["a:", "  + torch 2"]


def test_a_new_image_is_counted() -> None:
    base = Base(reference="nvidia/cuda:12", substitute="bootstrap:debian:bookworm", debs=(deb("bash", "5"),))
    built = Built(name="p", version="1", sdist_url="u", sdist_sha256=HASH, filename="f", sha256=HASH)
    entry = LockedImage(inputs=HASH, base=base, debs=(deb("git", "1"),), pylock="p", pylock_sha256=HASH, built=(built,))
    found = changes(Lock(), lock(a=entry, b=image()), {}, {"p": pylock(torch="1")})
    assert summary(found) == [
        "a: bootstrap:debian:bookworm, 2 packages, 1 distribution, 1 built from source",
        "b: nothing of its own",
    ]


def test_an_image_that_went() -> None:
    found = changes(lock(a=image(deb("git", "1"))), Lock(), {}, {})
    assert summary(found) == ["a: no longer locked"]


def test_long_lists_are_cut() -> None:
    before = lock(a=image(*(deb(f"p{at:02}", "1") for at in range(20))))
    after = lock(a=image(*(deb(f"p{at:02}", "2") for at in range(20))))
    lines = summary(changes(before, after, {}, {}), limit=3)
    assert lines == ["a:", "    p00 1 → 2", "    p01 1 → 2", "    p02 1 → 2", "    … and 17 more"]


def test_what_the_project_is_built_with() -> None:
    def entry(**versions: str) -> LockedImage:
        tools = (Tool(name=name, version=one, filename="f", sha256=HASH) for name, one in versions.items())
        return LockedImage(inputs=HASH, build=tuple(tools))

    found = changes(lock(a=entry(hatchling="1", pluggy="1")), lock(a=entry(hatchling="2", trove="3")), {}, {})
    assert summary(found) == [
        "a:",
        "    hatchling 1 → 2, to build the project with",
        "  - pluggy 1, to build the project with",
        "  + trove 3, to build the project with",
    ]
    assert summary(changes(Lock(), lock(a=entry(hatchling="1")), {}, {})) == ["a: 1 to build the project with"]

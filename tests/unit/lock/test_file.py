"""The lock as text: what is written is read again, and reads well."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import SpecError
from wardian.lock.file import read, write
from wardian.lock.model import Base, Built, Deb, Lock, LockedImage, Tool

HASH = "0123456789abcdef" * 4
DEB = Deb(
    name="git", version="1:2.39.5-0+deb12u2", architecture="amd64", url="http://d/pool/g%2b.deb", sha256=HASH, size=7
)
TOOL = Tool(name="setuptools", version="84", filename="setuptools-84-py3-none-any.whl", sha256=HASH)
WHOLE = Lock(
    images={
        "train[python=3.11,cuda=12.4.1]": LockedImage(
            inputs=HASH,
            wants={"apt": ("git",), "file a b.txt": (HASH,), "requirements": ("x>=1", 'y; python_version < "3.12"')},
            base=Base(reference="nvidia/cuda:12", substitute="bootstrap:debian:bookworm", debs=(DEB, DEB)),
            debs=(DEB,),
            python="3.11",
            interpreter="/usr/bin/python3.11",
            pylock="pylock.train.toml",
            pylock_sha256=HASH,
            built=(
                Built(
                    name="p",
                    version="1",
                    sdist_url="https://p/p-1.tar.gz",
                    sdist_sha256=HASH,
                    filename="p-1-py3-none-any.whl",
                    sha256=HASH,
                    build=(TOOL,),
                    debs=(DEB,),
                    env={"CC": "gcc -O2"},
                ),
            ),
            build=(TOOL,),
            inherited=("torch==2.13.0+cpu",),
        ),
        "base": LockedImage(inputs=HASH, base=Base(reference="python:3.11", digest=f"sha256:{HASH}")),
    }
)


def test_what_is_written_is_read_again() -> None:
    assert read(write(WHOLE), "wardian.lock") == WHOLE


def test_the_order_is_stable() -> None:
    turned = Lock(images=dict(reversed(WHOLE.images.items())))
    assert write(turned) == write(WHOLE)


def test_a_package_is_one_line() -> None:
    lines = write(WHOLE).splitlines()
    assert sum("g%2b.deb" in line for line in lines) == 4
    fields = 'name = "git", version = "1:2.39.5-0+deb12u2", architecture = "amd64", url = "http://d/pool/g%2b.deb"'
    assert f'  {{ {fields}, sha256 = "{HASH}", size = 7 }},' in lines


def test_nothing_is_an_empty_lock() -> None:
    assert read("", "wardian.lock") == Lock()
    assert read(write(Lock()), "wardian.lock") == Lock()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 1\n<<<<<<< HEAD\na = 1\n=======\n", "wardian.lock:2: it holds both sides of a merge"),
        ("version = [", "wardian.lock: it is not TOML"),
        ("version = 2\n", "wardian.lock: version: format 2 is not known to this Wardian"),
        ("images = {}\n", "wardian.lock: version: format None is not known"),
        ("version = 1\nimages = 3\n", "wardian.lock: images: Input should be a valid dictionary"),
        ('version = 1\n[images.a]\ninputs = "x"\n', "wardian.lock: images.a.inputs: String should match"),
        (f'version = 1\n[images.a]\ninputs = "{HASH}"\nnew = 1\n', "wardian.lock: images.a.new: Extra inputs"),
    ],
)
def test_a_broken_lock_is_named(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(text, "wardian.lock")
    assert caught.value.message.startswith(said)
    assert caught.value.hint
    assert "wardian lock" in caught.value.hint


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SHA = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
DEBS = st.lists(
    st.builds(
        Deb, sha256=SHA, size=st.integers(0, 2**62), **dict.fromkeys(("name", "version", "url", "architecture"), TEXT)
    ),
    max_size=2,
)
TOOLS = st.lists(st.builds(Tool, sha256=SHA, **dict.fromkeys(("name", "version", "filename", "url"), TEXT)), max_size=2)
BUILT = st.builds(
    Built,
    sdist_sha256=SHA,
    sha256=SHA,
    build=TOOLS.map(tuple),
    debs=DEBS.map(tuple),
    env=st.dictionaries(TEXT, TEXT, max_size=2),
    **dict.fromkeys(("name", "version", "sdist_url", "filename"), TEXT),
)
IMAGES = st.builds(
    LockedImage,
    inputs=SHA,
    wants=st.dictionaries(TEXT, st.lists(TEXT, max_size=2).map(tuple), max_size=2),
    base=st.none() | st.builds(Base, reference=TEXT, digest=st.none() | TEXT, debs=DEBS.map(tuple)),
    debs=DEBS.map(tuple),
    python=st.none() | TEXT,
    pylock=st.none() | TEXT,
    pylock_sha256=st.none() | SHA,
    built=st.lists(BUILT, max_size=2).map(tuple),
    inherited=st.lists(TEXT, max_size=2).map(tuple),
)


@given(st.dictionaries(TEXT, IMAGES, max_size=2))
def test_any_lock_is_read_as_it_was_written(images: dict[str, LockedImage]) -> None:
    lock = Lock(images=images)
    assert read(write(lock), "wardian.lock") == lock
    assert write(Lock(images=dict(reversed(images.items())))) == write(lock)

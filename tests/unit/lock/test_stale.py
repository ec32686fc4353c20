"""Staleness: what resolution reads makes a lock stale, and is named; nothing else does."""

import hashlib
from typing import Any

import pytest

from wardian.lock.model import Lock, LockedImage
from wardian.lock.stale import Wants, differing, inputs, reasons, wants
from wardian.spec.matrix import Variant
from wardian.spec.models import Image

PYLOCK = "pylock.train.toml"
TEXT = "a lock"
PROJECT = '[project]\nname = "p"\ndependencies = ["numpy"]\n[dependency-groups]\ndev = ["pytest"]\n'


def image(**values: Any) -> Image:
    return Image.model_validate({"from": "bootstrap:debian:bookworm", **values})


def variant(name: str = "train", *, parent: str | None = None, **values: Any) -> Variant:
    return Variant(name, name, (), parent, image(**values))


def asked(
    one: Variant, texts: dict[str, str] | None = None, *, parent: str | None = None, instead: str | None = None
) -> Wants:
    return wants(one, texts or {}, substitute=lambda _: instead, parent=parent)


def locked(wanted: Wants, **values: Any) -> LockedImage:
    return LockedImage(inputs=inputs(wanted), wants=wanted, **values)


BEFORE: dict[str, Any] = {
    "apt": ["git"],
    "python": "3.11",
    "requirements": ["torch", "numpy"],
    "files": ["r.txt"],
    "index": ["https://u:p@corp/simple"],
    "sdists": {"p": {"apt": ["g++"]}},
}
TEXTS = {"r.txt": "x\n-r more.txt\n", "more.txt": "y\n", "pyproject.toml": PROJECT}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"apt": ["git", "curl"]}, "train: apt changed (+curl)"),
        ({"apt": []}, "train: apt changed (-git)"),
        ({"python": "3.12"}, "train: python changed from 3.11 to 3.12"),
        (
            {"from": "bootstrap:debian:trixie"},
            "train: from changed from bootstrap:debian:bookworm to bootstrap:debian:trixie",
        ),
        ({"platform": "linux/arm64"}, "train: platform changed from linux/amd64 to linux/arm64"),
        ({"requirements": ["torch==2", "numpy"]}, "train: requirements changed (+torch==2, -torch)"),
        ({"files": []}, "train: more.txt is no longer read"),
        ({"index": ["https://corp/other"]}, "train: index changed from https://corp/simple to https://corp/other"),
        ({"groups": ["dev"]}, "train: pyproject.toml changed (+pytest)"),
        ({"extras": [""]}, "train: pyproject.toml changed (+numpy)"),
        ({"project": "editable"}, "train: pyproject.toml changed (+numpy)"),
        ({"project": "wheel"}, "train: build-system.requires changed (+setuptools>=40.8.0)"),
        ({"sdists": {"p": {"apt": ["gcc"]}}}, "train: sdists changed from"),
    ],
)
def test_what_changed_is_named(changed: dict[str, Any], reason: str) -> None:
    before = asked(variant(**BEFORE), TEXTS)
    now = asked(variant(**{**BEFORE, **changed}), TEXTS)
    found = reasons(Lock(images={"train": locked(before)}), {"train": now}, {})
    assert found
    assert found[0].startswith(reason)


@pytest.mark.parametrize(
    "changed",
    [
        {"env": {"A": "1"}},
        {"labels": {"a": "b"}},
        {"run": ["true"]},
        {"copy": [{"source": "a", "target": "/a"}]},
        {"workdir": "/w"},
        {"command": ["x"]},
        {"tags": ["t"]},
        {"tests": {"t": "true"}},
        {"ca": True},
        {"apt": ["git", "git"]},
        {"requirements": ["numpy", "torch"]},
        {"index": ["https://other:secret@corp/simple"]},
    ],
)
def test_what_only_the_build_reads_does_not_count(changed: dict[str, Any]) -> None:
    before, now = asked(variant(**BEFORE), TEXTS), asked(variant(**{**BEFORE, **changed}), TEXTS)
    assert inputs(before) == inputs(now)
    assert reasons(Lock(images={"train": locked(before)}), {"train": now}, {}) == []


def test_files_count_by_content() -> None:
    before = asked(variant(**BEFORE), TEXTS)
    for path in ("r.txt", "more.txt"):
        now = asked(variant(**BEFORE), {**TEXTS, path: TEXTS[path] + "z\n"})
        assert reasons(Lock(images={"train": locked(before)}), {"train": now}, {}) == [f"train: {path} changed"]


def test_secrets_are_not_written() -> None:
    assert "u:p@" not in str(asked(variant(**BEFORE), TEXTS))
    found = asked(variant(requirements=["a @ https://tok:en@corp/a.whl"]))
    assert found["requirements"] == ("a @ https://corp/a.whl",)


def test_a_substitute_of_the_base_counts() -> None:
    before = asked(variant(**{"from": "nvidia/cuda:12"}))
    now = asked(variant(**{"from": "nvidia/cuda:12"}), instead="bootstrap:debian:bookworm")
    assert reasons(Lock(images={"train": locked(before)}), {"train": now}, {}) == [
        "train: substitute changed (+bootstrap:debian:bookworm)"
    ]


def test_a_child_follows_its_parent() -> None:
    base, moved = asked(variant("base", apt=["git"])), asked(variant("base", apt=["curl"]))
    child = variant("dev", parent="base", **{"from": "@base"})
    before = {"base": locked(base), "dev": locked(asked(child, parent=inputs(base)))}
    now = {"base": moved, "dev": asked(child, parent=inputs(moved))}
    assert reasons(Lock(images=before), now, {}) == [
        "base: apt changed from git to curl",
        "dev: its parent base changed",
    ]


def test_images_that_came_and_went() -> None:
    one = asked(variant())
    assert reasons(Lock(images={"old": locked(one)}), {"new": one}, {}) == [
        "old is locked, but no longer an image of the project",
        "new is not locked yet",
    ]


def test_an_unknown_difference_is_a_reason_too() -> None:
    now = asked(variant())
    entry = LockedImage(inputs="0" * 64, wants=now)
    assert reasons(Lock(images={"train": entry}), {"train": now}, {}) == [
        "train: the lock was written by another version of Wardian"
    ]


def test_the_pylock_belongs_to_the_lock() -> None:
    now = asked(variant())
    entry = locked(now, pylock=PYLOCK, pylock_sha256=hashlib.sha256(TEXT.encode()).hexdigest())
    lock = Lock(images={"train": entry})
    assert reasons(lock, {"train": now}, {PYLOCK: TEXT}) == []
    assert reasons(lock, {"train": now}, {}) == [f"train: {PYLOCK} is missing"]
    assert reasons(lock, {"train": now}, {PYLOCK: TEXT + " "}) == [f"train: {PYLOCK} is not the one that was locked"]


def test_differing() -> None:
    assert differing({"a": ("1",), "b": ()}, {"a": ("2",), "c": ("x",)}) == {"a", "c"}


def test_what_builds_the_project_counts_where_its_wheel_is_built() -> None:
    def text(requires: str) -> dict[str, str]:
        return {**TEXTS, "pyproject.toml": f"[build-system]\nrequires = {requires}\n{PROJECT}"}

    wheel, editable = variant(project="wheel"), variant(project="editable")
    before = Lock(images={"train": locked(asked(wheel, text('["hatchling", "x"]')))})
    same = asked(wheel, text('["x", "hatchling", "x"]'))
    assert reasons(before, {"train": same}, {}) == [], "their order is nothing"
    now = asked(wheel, text('["hatchling>1", "x"]'))
    assert reasons(before, {"train": now}, {}) == ["train: build-system.requires changed (+hatchling>1, -hatchling)"]
    assert "build-system.requires" not in asked(editable, text('["hatchling"]'))
    secret = asked(wheel, text('["x @ https://ada:secret@corp/x.whl"]'))
    assert secret["build-system.requires"] == ("x @ https://corp/x.whl",)

"""A project whose image is busybox, for the verbs that run things."""

import json
from collections.abc import Mapping
from pathlib import Path

from tests.rootfs import add_busybox
from wardian.lock.file import write
from wardian.lock.model import Lock, LockedImage
from wardian.plan.labels import OURS, lock_digest
from wardian.runs.record import Record
from wardian.runs.shelf import Shelf
from wardian.store.store import Store

LOCKED = LockedImage(inputs="0" * 64)
SPEC = """\
[project]
name = "demo"

[images.train]
from = "bootstrap:debian:bookworm"
"""


def make_store(folder: Path) -> Path:
    """A store with ``demo/train:latest``, as if it was built from ``LOCKED``."""
    add_busybox(
        Store(folder),
        WorkingDir="/workspace",
        Cmd=["echo", "the image's own command"],
        Labels={f"{OURS}lock": lock_digest(LOCKED), f"{OURS}image": "train"},
    )
    return folder


def make_project(folder: Path, run: str = 'gpus = "none"', images: str = "") -> Path:
    """A locked project; ``run`` is the body of ``[run]``, ``images`` what follows ``[images.train]``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wardian.toml").write_text(f"{SPEC}{images}\n[run]\n{run}\n")
    (folder / "wardian.lock").write_text(write(Lock(images={"train": LOCKED})))
    return folder


def records(project: Path) -> list[Record]:
    """The project's run records, the oldest first."""
    return [run.record for run in Shelf(project / ".wardian", project / ".none").all()]


def raw(project: Path) -> Mapping[str, object]:
    """The latest record as JSON."""
    latest = max((project / ".wardian/runs").glob("*/record.json"))
    data: Mapping[str, object] = json.loads(latest.read_text())
    return data

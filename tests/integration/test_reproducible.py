"""Same lock, same digest: as root, as a plain user, in another folder, zone, umask and language, cold and warm.

The image has every kind of layer: a base from packages, `apt` (a user is added, a capability set, a service not
started), wheels, `run`, `copy`, and the project's own wheel.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.integration.builds import Place, write
from tests.people import Person, ourselves
from tests.stores import linked

TOML = """
[project]
name = "same"

[images.base]
from = "bootstrap:debian:bookworm"
python = "3.11"

[images.train]
from = "@base"
apt = ["openssh-server", "iputils-ping"]
requirements = ["requests", "pyyaml"]
run = [
  "python -c 'import requests, yaml; print(requests.__version__)' && date >/dev/null && mkdir /data && rm /etc/motd",
  "python -m compileall -q /opt/env/lib; rm -r /usr/share/bug /usr/share/pam; mkdir -m 700 /usr/share/pam",
]
copy = [{ source = "configs", target = "/workspace/configs" }]
project = "wheel"
workdir = "/workspace"
"""
PYPROJECT = """
[build-system]
requires = ["flit_core<4"]
build-backend = "flit_core.buildapi"

[project]
name = "same"
version = "0.1"
description = "the same everywhere"

[project.scripts]
same = "same:main"
"""
FILES = {
    "pyproject.toml": PYPROJECT,
    "same/__init__.py": "def main() -> None:\n    print('the same')\n",
    "configs/a.toml": "x = 1\n",
    "configs/run.sh": "#!/bin/sh\n",
}
Need = Callable[..., None]


@pytest.fixture(scope="session")
def first(session_folder: Path, base_store: Path, need: Need) -> Place:
    """Built by whoever runs the tests, over a store that has a base from packages already."""
    need("bwrap", "mmdebstrap", "apt-get")
    place = Place(session_folder / "same")
    with FileLock(f"{place.folder}.lock"):
        if not (place.folder / "done").exists():
            shutil.rmtree(place.folder, ignore_errors=True)
            place.folder.mkdir()
            linked(base_store, place.folder / "store")
            write(place, TOML, FILES)
            place.run("lock")
            place.build()
            (place.folder / "done").touch()
    return place


@pytest.fixture(scope="session")
def digests(first: Place) -> dict[str, str]:
    """The digest of each image, as built first."""
    return {name: one["digest"] for name, one in first.build().items()}


def other(first: Place, place: Place) -> Place:
    """Another machine with the same project and lock; what was downloaded is there, what was built is not."""
    place.folder.mkdir()
    shutil.copytree(first.project, place.project, ignore=shutil.ignore_patterns(".wardian"))
    shutil.copytree(first.folder / "store" / "downloads", place.folder / "store" / "downloads")
    for path in place.project.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    place.person.own(place.folder)
    return place


def built(place: Place) -> dict[str, str]:
    return {name: one["digest"] for name, one in place.build().items()}


def test_a_warm_build_is_the_same(first: Place, digests: dict[str, str]) -> None:
    assert built(first) == digests


def test_another_user_zone_umask_language_and_folder_are_the_same(
    first: Place, digests: dict[str, str], plain_user: Any, session_folder: Path
) -> None:
    person = Person("subids", plain_user.uid, plain_user.gid, plain_user.prefix)
    environ = {"TZ": "Pacific/Chatham", "LANG": "tr_TR.UTF-8", "HOME": str(plain_user.home), "USER": "somebody"}
    place = other(first, Place(session_folder / "another place 'ü", person, environ, "077"))
    (place.project / "configs" / "a.toml").chmod(0o600)
    assert built(place) == digests


def test_steps_made_again_are_the_same(first: Place, digests: dict[str, str], tmp_path: Path) -> None:
    """Everything but the base, made again from what lies beneath."""
    place = Place(tmp_path / "again", ourselves(), {"TZ": "Asia/Tokyo"}, "002")
    place.folder.mkdir()
    for name in ("project", "store"):
        linked(first.folder / name, place.folder / name)
    answer = place.build("train", "--no-cache")
    assert {name: one["digest"] for name, one in answer.items()} == digests
    assert len(answer["train"]["layers"]["new"]) >= 8


def test_the_image_works(first: Place, digests: dict[str, str]) -> None:
    done = first.run("run", "--image", "train", "--", "sh", "-c", "same && python -c 'import yaml' && stat -c %A /data")
    assert done.stdout == "the same\ndrwxr-xr-x\n"


def test_nothing_of_this_machine_is_in_the_image(first: Place, digests: dict[str, str]) -> None:
    """Only what must be in a base is in it: no logs, caches, identities, or compiled Python."""
    names: set[str] = set()
    for at in range(len(first.store.manifest(digests["train"]).layers)):
        names |= {name for name, member in first.members(digests["train"], at).items() if not member.isdir()}
    wrong = ("var/log/", "var/cache/apt/", "var/lib/apt/lists/", "etc/ssh/ssh_host", "etc/machine-id", "run/", "tmp/")
    assert not [name for name in names if name.startswith(wrong) or "__pycache__" in name or name.endswith("-old")]
    assert {"etc/apt/sources.list", "usr/share/doc/bash/copyright", "usr/bin/ping", "opt/env/bin/same"} <= names
    assert not [name for name in names if name.startswith("usr/share/man/")]


def test_capabilities_users_and_modes_are_kept(first: Place, digests: dict[str, str]) -> None:
    layers = range(len(first.store.manifest(digests["train"]).layers))
    apt = next(members for at in layers if "usr/sbin/sshd" in (members := first.members(digests["train"], at)))
    assert "SCHILY.xattr.security.capability" in apt["usr/bin/ping"].pax_headers
    assert apt["usr/lib/openssh/ssh-keysign"].mode == 0o4755
    assert (apt["etc/shadow"].uid, apt["etc/shadow"].gid, apt["etc/shadow"].mode) == (0, 42, 0o640)

"""Two real distributions that bring the same package: PyJWT and jwt, both as ``import jwt``."""

import tarfile
from pathlib import Path

from tests.integration.builds import BASE, Place, write
from tests.rootfs import add_busybox

LABELS = {"dev.wardian.python": "3.11", "dev.wardian.interpreter": "/usr/bin/python3.11"}
TOML = f"""
[project]
name = "demo"

[images.train]
from = "{BASE}"
requirements = ["jwt==1.3.1", "PyJWT==2.9.0"]
"""


def test_the_build_says_which_of_two_packages_counts(tmp_path: Path) -> None:
    place = Place(tmp_path)
    add_busybox(place.store, BASE, Labels=LABELS)
    write(place, TOML)
    place.run("lock")
    answer = place.build()["train"]
    [line] = answer["warnings"]
    blobs = place.store.manifest(answer["digest"]).layers
    path = "opt/env/lib/python3.11/site-packages/jwt/__init__.py"
    top = max(at for at in range(1, len(blobs)) if path in place.members(answer["digest"], at))
    with tarfile.open(place.store.path(blobs[top].digest)) as layer:
        content = layer.extractfile(path)
        assert content
        pair = ["jwt 1.3.1", "pyjwt 2.9.0"]
        hidden, seen = pair if b"PyJWT" in content.read() else reversed(pair)
    assert line == f"{hidden} and {seen} both bring jwt/__init__.py and 2 more files; those of {seen} count"

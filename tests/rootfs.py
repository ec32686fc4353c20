"""A root file system of one megabyte for tests: busybox with all its names, as a one-layer image."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.images import Content, add_image, layer
from wardian.oci.model import Descriptor
from wardian.store.store import Store

PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nubuntu:x:1000:1000::/home/ubuntu:/bin/sh\n"
)
GROUP = b"root:x:0:\nwww-data:x:33:\nubuntu:x:1000:\n"
MODES = {"bin/busybox": 0o755, "tmp": 0o1777, "root": 0o700, "bin/broken": 0o755, "bin/tool": 0o755}


def busybox() -> Path | None:
    """A busybox that needs no libraries (Debian: busybox-static)."""
    found = shutil.which("busybox")
    return Path(found) if found else None


def files() -> dict[str, Content]:
    """What the layer holds: busybox under all its names, users, and a few oddities that tests ask about."""
    program = busybox()
    assert program is not None
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links: dict[str, Content] = {f"bin/{name}": "busybox" for name in names if name != "busybox"}
    return {
        "bin": None,
        "bin/busybox": program.read_bytes(),
        **links,
        "etc": None,
        "etc/passwd": PASSWD,
        "etc/group": GROUP,
        "etc/plain": b"not a program\n",
        "root": None,
        "tmp": None,
        "usr": None,
        "run": None,
        "var": None,
        "var/run": "/run",
        "bin/broken": b"#!/no/such/interpreter\n",
        "bin/tool": b'#!/bin/sh\nexec echo tool "$@"\n',
    }


def add_busybox(store: Store, reference: str = "demo/train:latest", **config: Any) -> Descriptor:
    """Put the image into a store; ``config`` over PATH=/bin and no workdir."""
    return add_image(store, reference, [layer(files(), modes=MODES)], config=defaults(config))


def run_folders(store: Path) -> list[Path]:
    """The folders under /tmp of sandboxes that run, or were left, over layers of a store."""
    return [link.parent for link in Path("/tmp").glob("wardian-*/0") if link.readlink().is_relative_to(store)]


def defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with what every image has."""
    return {"Env": ["PATH=/bin", "FROM_IMAGE=yes"], **config}

"""Push and pull an image cold: Wardian beside skopeo, on a registry of loopback.

    python bench/transfers.py [--repeat 5] [--image REFERENCE --store DIR] [--megabytes 300] [--json FILE]

``time`` is one command from its start to its end. The registry is empty before each push, the store before each pull.
Both programs read the same store (an OCI layout) and write one; they take turns.
"""

import argparse
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from measure import Row, environment, run, spread, table, write
from registries import Registry
from wardian.oci.model import CONFIG, LAYER, MANIFEST, Manifest, canonical
from wardian.store.store import Store

PEER = "skopeo"
_SHARES = (40, 20, 15, 10, 5, 4, 2, 1, 1, 1, 1)  # of a hundred: a few big layers and many small ones, as images are


def rows(store: Path, image: str, scratch: Path, repeat: int = 5) -> list[Row]:
    """The rows ``push`` and ``pull`` for an image of a store."""
    with registry(scratch) as served:
        samples: dict[tuple[str, str], list[float]] = {}
        for _ in range(repeat):
            for work, name, seconds in _round(served, store, image, scratch):
                samples.setdefault((work, name), []).append(seconds)
    for (work, name), values in samples.items():
        print(f"{work:6}{name:10}{spread(values)} s")
    return [
        Row(work, "time", median(samples[work, "wardian"]), median(samples[work, PEER]), PEER)
        for work in ("push", "pull")
    ]


@contextmanager
def registry(scratch: Path) -> Iterator[Registry]:
    """A registry of our own, ended with the block."""
    served = Registry(scratch / "registry")
    try:
        yield served
    finally:
        served.stop()


def _round(served: Registry, store: Path, image: str, scratch: Path) -> Iterator[tuple[str, str, float]]:
    """Each work once by each program."""
    place, back = f"{served.address}/bench/image:1", scratch / "back"
    skopeo = ("skopeo", "copy", "--quiet", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false")
    works = {
        ("push", PEER): (*skopeo, f"oci:{store}:{image}", f"docker://{place}"),
        ("push", "wardian"): ("wardian", "push", image, "--to", place),
        ("pull", PEER): (*skopeo, f"docker://{place}", f"oci:{back}:image"),
        ("pull", "wardian"): ("wardian", "pull", place),
    }
    for (work, name), argv in works.items():
        if work == "push":
            served.start()
        shutil.rmtree(back, ignore_errors=True)
        home = store if work == "push" else back
        yield work, name, _seconds(argv, home, scratch)
    shutil.rmtree(back, ignore_errors=True)


def _seconds(argv: Sequence[str], home: Path, cwd: Path) -> float:
    return run(argv, env=environment(WARDIAN_HOME=str(home)), cwd=cwd, watch=False).seconds


def synthetic(store: Store, megabytes: int) -> str:
    """An image of bytes that do not compress, and its reference."""
    noise = random.Random(1)
    layers = [
        store.ingest((noise.randbytes(share * 10_000) for _ in range(megabytes)), media_type=LAYER) for share in _SHARES
    ]
    config = {"os": "linux", "architecture": "amd64", "config": {}}
    rootfs = {"type": "layers", "diff_ids": [layer.digest for layer in layers]}
    described = store.put(canonical({**config, "rootfs": rootfs}), CONFIG)
    body = Manifest(described, tuple(layers)).to_bytes()
    store.tag("bench/synthetic:1", store.put(body, MANIFEST))
    return "bench/synthetic:1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--image", help="an image of --store; without it, one of random bytes is made")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--scratch", type=Path, help="where registry and stores lie; default: a temporary folder")
    parser.add_argument("--json", help="also write the rows to this file")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wardian-transfers-", dir=said.scratch) as folder:
        store = said.store or Path(folder) / "store"
        image = said.image or synthetic(Store(store), said.megabytes)
        found = rows(store, image, Path(folder), said.repeat)
    figures = [(row.work, row.measure, f"{row.ours:.2f}", f"{row.peer:.2f}", f"{row.ratio:.2f}") for row in found]
    print(table(("work", "measure", "wardian", PEER, "ratio"), figures))
    write(found, said.json)


if __name__ == "__main__":
    main()

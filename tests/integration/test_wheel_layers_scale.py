"""Wheel layers at scale: memory does not grow with the wheel, time grows with the number of wheels and no faster."""

import os
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from tests.wheels import METADATA, WHEEL, as_file, hashed, wheel
from wardian.oci.splice import write_wheels

PEAK = """
import sys
from pathlib import Path
from wardian.oci.splice import write_wheels
from wardian.oci.wheelfile import WheelFile
from wardian.oci.gzip import write_layer
from wardian.store.store import Store
from wardian.store.unpack import unpack
source, root = Path(sys.argv[1]), Path(sys.argv[2])
with source.open("rb") as file, Store(root / "store").writer() as out:
    told = write_wheels(out, [WheelFile(source.name, file)], prefix="/opt/env", python="3.11")
    digest = out.commit(told.digest)
(root / "tree").mkdir()
unpack(Store(root / "store").path(digest), root / "tree", xattr="user", owners=False, diff_id=told.diff_id)
with source.open("rb") as file, Store(root / "store").writer() as out:
    write_layer(out, iter(lambda: file.read(1 << 20), b""))
# ru_maxrss would count the process that started this one.
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(told.unpacked_size, int(peak) // 1024)
"""


def big_wheel(place: Path, size: int) -> Path:
    """A wheel of ``size`` bytes: a third stored, a third compressed well, a third compressed badly."""
    third = size // 3
    block = random.Random(5).randbytes(1 << 20)
    contents = {"big/stored": block * (third >> 20), "big/zeros": bytes(third), "big/noise": block * (third >> 20)}
    info = "big-1.0.dist-info"
    contents |= {
        f"{info}/METADATA": METADATA.format(name="big", version="1.0").encode(),
        f"{info}/WHEEL": WHEEL.encode(),
    }
    path = place / "big-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for name, content in contents.items():
            target.writestr(name, content, zipfile.ZIP_STORED if name == "big/stored" else None)
        rows = [f"{name},{hashed(content)},{len(content)}" for name, content in contents.items()]
        target.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,", ""]))
    return path


def test_memory_does_not_grow_with_the_wheel(tmp_path: Path) -> None:
    """Writing, storing, unpacking and compressing 300 MB take less than 100 MiB."""
    path = big_wheel(tmp_path, 300 << 20)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    size, peak = map(int, done.stdout.split())
    assert size > 295 << 20
    assert peak < 100, f"{peak} MiB"
    assert (tmp_path / "tree/opt/env/lib/python3.11/site-packages/big/zeros").stat().st_size == 100 << 20


class Nowhere:
    """A sink that forgets."""

    def write(self, data: bytes) -> int:
        return len(data)


def seconds(count: int) -> float:
    wheels = [
        as_file(wheel(f"w{at}", files={f"w{at}/{one}.py": os.urandom(800) for one in range(20)}), f"w{at}")
        for at in range(count)
    ]
    started = time.process_time()
    write_wheels(Nowhere(), wheels, prefix="/opt/env", python="3.11")
    return time.process_time() - started


def test_time_is_linear_in_wheels() -> None:
    seconds(20)
    small, large = min(seconds(50) for _ in range(3)), min(seconds(400) for _ in range(2))
    assert large < small * 8 * 1.7, f"50 wheels {small:.3f} s, 400 wheels {large:.3f} s"

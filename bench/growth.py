"""How build time grows with the number of wheels, and what many images that share a big wheel cost the store."""

import base64
import hashlib
import statistics
import zipfile
from pathlib import Path

from contestants import Wardian
from measure import Row, size_of, spread

BIG = "torch==2.13.0"


def tiny_wheel(folder: Path, number: int, *, files: int = 12) -> str:
    """Write a valid wheel of a few small modules and return the requirement that selects it."""
    name, version = f"tiny_{number:03d}", "1.0"
    members = {f"{name}/m{at}.py": f"VALUE = {at * number}\n".encode() * 40 for at in range(files)}
    members[f"{name}/__init__.py"] = b""
    info = f"{name}-{version}.dist-info"
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{path},sha256={_hash(content)},{len(content)}\n" for path, content in members.items())
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in members.items():
            wheel.writestr(path, content)
    return f"{name.replace('_', '-')}=={version}"


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def growth_rows(ours: Wardian, scratch: Path, *, counts: tuple[int, ...], repetitions: int) -> tuple[list[Row], str]:
    """Build time for growing numbers of wheels, and how far from a straight line it is."""
    wheels = scratch / "wheels"
    wheels.mkdir()
    requirements = [tiny_wheel(wheels, number) for number in range(max(counts))]
    medians: dict[int, float] = {}
    lines = []
    with ours.find_links(wheels):
        ours.forget()
        for count in counts:
            seconds = []
            for _ in range(repetitions):
                ours.fresh_home()
                ours.write(requirements[:count], "")
                ours.wardian("lock")
                seconds.append(ours.wardian("build").seconds)
            medians[count] = statistics.median(seconds)
            lines.append(f"  {count:>4} wheels  {spread(seconds)} s")
    rows = [Row(f"growth, {count} wheels", "build time", seconds) for count, seconds in medians.items()]
    first, middle, last = counts[0], counts[len(counts) // 2], counts[-1]
    early = (medians[middle] - medians[first]) / (middle - first)
    late = (medians[last] - medians[middle]) / (last - middle)
    rows.append(Row("growth, last half against first", "time for each wheel, s", late, early, "the first half"))
    text = f"each further wheel costs {1000 * early:.1f} ms up to {middle} wheels, {1000 * late:.1f} ms from there on"
    return rows, "\n".join(["build time by number of wheels:", *lines, f"  {text}"])


def sharing_rows(ours: Wardian, scratch: Path, *, images: int) -> tuple[list[Row], str]:
    """What one image with torch adds to the store, and what many do."""
    wheels = scratch / "shared-wheels"
    wheels.mkdir()
    requirements = [tiny_wheel(wheels, number) for number in range(images)]
    sizes = []
    with ours.find_links(wheels):
        for count in (1, images):
            ours.forget()
            before = size_of(ours.home / "blobs")
            ours.write_many([(BIG, requirement) for requirement in requirements[:count]])
            ours.wardian("lock")
            ours.wardian("build")
            sizes.append((size_of(ours.home / "blobs") - before) / 1e6)
    row = Row(f"store, {images} images that share torch", "bytes", sizes[1], sizes[0], "one such image")
    return [row], f"store: one image with torch adds {sizes[0]:.1f} MB, {images} such images add {sizes[1]:.1f} MB"

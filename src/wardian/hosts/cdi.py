"""The CDI specifications of this machine, read from disk."""

import json
from collections.abc import Sequence
from pathlib import Path

from wardian.errors import WardianError
from wardian.plan.containers import Bind
from wardian.plan.devices import Devices, Edits, parse

FOLDERS = ("/etc/cdi", "/var/run/cdi")  # the later wins, as the specification says


def devices(folders: Sequence[str]) -> Devices:
    """All devices that the specifications in some folders describe; a folder that is not there has none."""
    found = Devices()
    for folder in folders:
        for path in sorted(Path(folder).glob("*")) if Path(folder).is_dir() else ():
            if path.suffix in (".json", ".yaml", ".yml"):
                found |= parse(_document(path), str(path))
    return found


def _document(path: Path) -> object:
    """A JSON or YAML file as data. JSON is not left to the YAML reader, which is some thirty times slower."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return json.loads(text)
        import yaml

        return yaml.safe_load(text)
    except (OSError, ValueError) as error:
        raise WardianError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # yaml's errors share no base with ValueError
        if type(error).__module__.startswith("yaml"):
            raise WardianError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
        raise


def sonames(mounts: Sequence[Bind]) -> Edits:
    """The links that ldconfig would make for mounted libraries: those of the host's folder that lead to the same file.

    A specification mounts libcuda.so.550.54 and leaves libcuda.so.1 to a hook that runs ldconfig; no hook runs here.
    """
    links: list[tuple[str, str]] = []
    for mount in mounts:
        source = Path(mount.source)
        if ".so" not in source.name or not source.is_file():
            continue
        folder, real = mount.target.rpartition("/")[0], source.resolve()
        beside = source.parent.glob(source.name.partition(".so")[0] + ".so*")
        links += [(source.name, f"{folder}/{one.name}") for one in beside if one.is_symlink() and one.resolve() == real]
    return Edits(links=tuple(links))

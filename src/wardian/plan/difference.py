"""What changed between two images: layers, packages, config. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wardian.plan.looking import ImageSeen, LayerSeen

Change = tuple[str, str | None, str | None]  # name, before, after; None: not there


@dataclass(frozen=True, slots=True)
class Difference:
    """What only the first has, what only the second has, and what changed."""

    removed: tuple[LayerSeen, ...]  # layers of the first only
    added: tuple[LayerSeen, ...]  # layers of the second only
    common: tuple[LayerSeen, ...]
    packages: tuple[Change, ...]
    config: tuple[Change, ...]

    def to_json(self) -> dict[str, Any]:
        """The difference as JSON."""
        return {
            "layers": {
                "removed": [layer.to_json() for layer in self.removed],
                "added": [layer.to_json() for layer in self.added],
                "common": [layer.digest for layer in self.common],
            },
            "packages": changes_json(self.packages),
            "config": changes_json(self.config),
        }


def changes_json(changes: Sequence[Change]) -> list[dict[str, str | None]]:
    """Changes as JSON."""
    return [{"name": name, "before": before, "after": after} for name, before, after in changes]


def difference(first: ImageSeen, second: ImageSeen) -> Difference:
    """What changed from the first image to the second."""
    mine, theirs = ({layer.digest: layer for layer in image.layers} for image in (first, second))
    return Difference(
        removed=tuple(layer for digest, layer in mine.items() if digest not in theirs),
        added=tuple(layer for digest, layer in theirs.items() if digest not in mine),
        common=tuple(layer for digest, layer in mine.items() if digest in theirs),
        packages=changed(versions(first.packages), versions(second.packages)),
        config=changed(settings(first), settings(second)),
    )


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """The names whose values are not the same, sorted."""
    names = sorted(before.keys() | after.keys())
    return tuple((name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name))


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Pins as name → version. Debian's and PyPI's may share a name: Debian's is marked.

    >>> versions(["numpy==2.0", "git=1:2.39"])
    {'numpy': '2.0', 'git (deb)': '1:2.39'}
    """
    found: dict[str, str] = {}
    for pin in packages:
        name, equals, version = pin.partition("=")
        if equals:
            debian = not version.startswith("=")
            found[f"{name} (deb)" if debian else name] = version if debian else version[1:]
    return found


def settings(image: ImageSeen) -> dict[str, str]:
    """An image's config, flat: ``env PATH`` → its value."""
    config = image.config
    environment = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
    flat = {f"env {name}": value for name, value in environment.items()}
    flat |= {f"label {name}": str(value) for name, value in (config.get("Labels") or {}).items()}
    for key in ("Entrypoint", "Cmd", "WorkingDir", "User", "StopSignal", "ExposedPorts", "Volumes"):
        if value := config.get(key):
            flat[key.lower()] = value if isinstance(value, str) else str(list(value))
    return flat | ({"platform": image.platform} if image.platform else {})

"""GPUs through the Container Device Interface: which devices a call gets, and what each adds to a container.

Source: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wardian.errors import Unavailable, WardianError
from wardian.plan.containers import Bind


@dataclass(frozen=True, slots=True)
class Edits:
    """What a device adds: nodes, host files, environment, links; folders with libraries the linker must know."""

    nodes: tuple[Bind, ...] = ()
    mounts: tuple[Bind, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # (target, path of the link)
    libraries: tuple[str, ...] = ()

    def __add__(self, other: "Edits") -> "Edits":
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__slots__)
        return Edits(*(tuple(dict.fromkeys((*ours, *theirs))) for ours, theirs in pairs))


@dataclass(frozen=True, slots=True)
class Devices:
    """All devices of all specifications, by full name ("nvidia.com/gpu=0"); a kind's common edits are in each."""

    edits: Mapping[str, Edits] = field(default_factory=dict)

    def __or__(self, other: "Devices") -> "Devices":
        return Devices({**self.edits, **other.edits})


def parse(data: Any, source: str) -> Devices:
    """The devices of one specification. Raises ``WardianError`` that names the file."""
    try:
        common = _edits(data.get("containerEdits") or {})
        kind = data["kind"]
        return Devices({f"{kind}={one['name']}": common + _edits(one["containerEdits"]) for one in data["devices"]})
    except (KeyError, TypeError, AttributeError) as error:
        raise WardianError(
            f"{source} is not a CDI specification: {error!r}", hint="remove it or write it anew"
        ) from error


def choose(wish: str, known: Devices) -> tuple[str, ...]:
    """The devices for ``auto``, ``all``, ``none``, a count, or ids. ``auto`` takes all there are, and none is fine.

    Raises ``Unavailable`` when devices that were asked for are not there.
    """
    gpus = [name for name in known.edits if "/gpu=" in name or "/gpu" in name.partition("=")[0]]
    whole = tuple(name for name in gpus if name.endswith("=all"))
    single = tuple(sorted((name for name in gpus if not name.endswith("=all")), key=_natural))
    if wish == "none":
        return ()
    if wish in ("auto", "all"):
        if wish == "all" and not gpus:
            raise _missing("all")
        return whole[:1] or single
    if wish.isdigit() and "," not in wish:
        plain = tuple(name for name in single if name.partition("=")[2].isdigit()) or single
        if len(plain) < int(wish):
            raise _missing(f"{wish} of them", plain)
        return plain[: int(wish)]
    by_id = {name.partition("=")[2]: name for name in gpus} | {name: name for name in gpus}
    ids = [part.strip() for part in wish.removeprefix("id=").split(",") if part.strip()]
    if absent := [one for one in ids if one not in by_id]:
        raise _missing(", ".join(absent), single)
    return tuple(dict.fromkeys(by_id[one] for one in ids))


def _missing(wish: str, known: Sequence[str] = ()) -> Unavailable:
    there = f"there is {', '.join(known)}" if known else "no CDI specification names any"
    return Unavailable(
        f"GPUs were asked for ({wish}), and {there}",
        hint="type: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, or run with --gpus none",
    )


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _edits(data: Mapping[str, Any]) -> Edits:
    hooks = [[str(word) for word in hook.get("args") or ()] for hook in data.get("hooks") or ()]
    return Edits(
        nodes=tuple(Bind(node.get("hostPath") or node["path"], node["path"]) for node in data.get("deviceNodes") or ()),
        mounts=tuple(
            Bind(one["hostPath"], one["containerPath"], "ro" in (one.get("options") or ()))
            for one in data.get("mounts") or ()
        ),
        env=tuple((name, value) for name, _, value in (str(line).partition("=") for line in data.get("env") or ())),
        links=tuple(link for words in hooks if "create-symlinks" in words for link in _links(words)),
        libraries=tuple(
            folder for words in hooks if "update-ldcache" in words for folder in _options(words, "--folder")
        ),
    )


def _links(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The links of nvidia-cdi-hook's create-symlinks: ``--link TARGET::PATH``. Source: nvidia-container-toolkit."""
    for pair in _options(words, "--link"):
        target, _, path = pair.partition("::")
        yield target, posixpath.normpath(path)


def _options(words: Sequence[str], option: str) -> Iterator[str]:
    for at, word in enumerate(words):
        if word == option and at + 1 < len(words):
            yield words[at + 1]
        elif word.startswith(f"{option}="):
            yield word.partition("=")[2]

"""One merge, from a checkpoint to a whole directory: plan it, write it beside its place, put it there at once."""

import ctypes
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from wardian import __version__
from wardian.checkpoints import keys, lora
from wardian.checkpoints.pickled import Refused
from wardian.checkpoints.plan import OutputFile, Whole, files
from wardian.checkpoints.reading import Advance, agree, digests, equal
from wardian.checkpoints.safetensors import INDEX, index, tensors
from wardian.checkpoints.source import Source
from wardian.checkpoints.writing import Report, room, write
from wardian.errors import WardianError

MANIFEST = "merge-manifest.json"
_WEIGHTS = re.compile(r".*\.(safetensors|bin|pt|pth)(\.index\.json)?|adapter_config\.json|merge-manifest\.json")
_EXCHANGE = 2  # renameat2(2), RENAME_EXCHANGE
_AT = -100  # AT_FDCWD
_MARK = ".wardian-merge"  # in a folder that is not in its place yet, or not any more


@dataclass(frozen=True, slots=True)
class Wish:
    """How a checkpoint is to be merged. ``dtype`` None: floating tensors stay as they are."""

    dtype: str | None = "bfloat16"
    largest: int = 50_000_000_000  # bytes of one file, as transformers 5 has it
    tied: Literal["auto", "keep"] = "auto"
    keys: Literal["hub", "as-saved"] = "hub"
    lora: Literal["separate", "fuse"] | None = None
    verify: bool = False
    threads: int = 2
    fsync: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be written; ``dropped``: names that are not, and whose tensor they share."""

    source: Source
    wish: Wish
    files: tuple[OutputFile, ...]
    dropped: Mapping[str, str]
    adapter: lora.Adapter | None = None

    @property
    def size(self) -> int:
        """Bytes of all tensors in the output."""
        return sum(one.size for one in self.files)


def planned(source: Source, wish: Wish) -> Plan:
    """Decide what is written where. Reads what has to be compared: buffers of all ranks, a head and its embedding."""
    made: Mapping[str, Whole] = source.made
    agree(source.same)
    adapter = None
    if lora.present(made):
        if wish.lora is None:
            raise Refused(
                "the checkpoint holds LoRA weights beside the model's",
                hint="type: --lora fuse to add them into it, or --lora separate for the model as it was and an adapter",
            )
        made, adapter = lora.split(made, source.folder)
    dropped: dict[str, str] = {}
    if wish.tied == "auto" and (pair := keys.tied(made, source.config)):
        head, embedding = pair
        ours, theirs = made[head], made[embedding]
        same = (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if not same or not equal(ours.parts, theirs.parts, ours.itemsize):
            raise Refused(
                f"{head} differs from {embedding}, and config.json says that they are one (tie_word_embeddings)",
                hint="type: --tied keep, and set tie_word_embeddings to false, if both are meant",
            )
        dropped[head] = embedding
        made = {key: whole for key, whole in made.items() if key != head}
    if wish.keys == "hub":
        made = keys.hub(made, source.config)
    if adapter and wish.lora == "fuse" and (lost := set(adapter.pairs) - set(made)):
        raise Refused(f"{min(lost)}: its LoRA weights belong to what is not written under this name")
    return Plan(source, wish, files(made, wish.dtype, wish.largest), dropped, adapter)


def allowed(plan: Plan, out: Path, *, overwrite: bool) -> None:
    """Raise where ``out`` cannot be the place: it holds what is not ours, or lies where the shards are."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise Refused(f"{out} is no folder", hint="name a new one with --out")
    if out.resolve() == plan.source.folder.resolve():
        raise Refused(f"{out} is the checkpoint itself", hint="name another folder with --out")
    if plan.source.side and plan.source.side.resolve() in out.resolve().parents:
        raise Refused(
            f"{out} lies in {plan.source.side}, which is copied into it", hint="name another folder with --out"
        )
    held = sorted(one.name for one in out.iterdir()) if out.is_dir() else []
    if not held:
        return
    ours = MANIFEST in held
    beside = plan.source.side is not None and out.resolve() == plan.source.side.resolve()
    if ours and not overwrite:
        raise Refused(f"{out} holds a merged model", hint="type: --overwrite, or name another folder with --out")
    if not ours and any(_WEIGHTS.fullmatch(name) for name in held):
        raise Refused(f"{out} holds weights that were not merged by Wardian", hint="name another folder with --out")
    if not ours and not beside:
        raise Refused(f"{out} holds other things: {held[0]}", hint="name a new folder with --out")


def merge(plan: Plan, out: Path, *, overwrite: bool = False, advance: Advance = lambda _: None) -> dict[str, Any]:
    """Write the directory ``out``, and return its manifest. Until all is there, nothing of it is visible.

    What it replaces is what an earlier merge wrote, or the checkpoint's own ``huggingface`` folder, whose files are
    all in the new one.
    """
    allowed(plan, out, overwrite=overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _partial(out) as fresh:
            room(out.parent, plan.files)
            report = write(fresh, plan.files, threads=plan.wish.threads, verify=plan.wish.verify, advance=advance)
            if plan.adapter:
                _adapt(plan, plan.adapter, fresh, report)
            if len(plan.files) > 1:
                (fresh / INDEX).write_bytes(index(plan.files))
            _side(plan, fresh)
            said = _manifest(plan, fresh, report)
            (fresh / MANIFEST).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
            if plan.wish.fsync:
                _synced(fresh)
            _put(fresh, out)
    except OSError as error:
        raise WardianError(f"{error.filename or out}: {error.strerror}") from error
    return said


@contextmanager
def _partial(out: Path) -> Iterator[Path]:
    """The folder that becomes ``out``: ours alone. One that a killed merge left has our mark, and is emptied first."""
    fresh = out.with_name(f"{out.name}.partial")
    fresh.mkdir(exist_ok=True)
    holder = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WardianError(f"another merge is writing {out}", hint="wait for it to end") from None
        held = [one.name for one in fresh.iterdir()]
        if held and _MARK not in held:
            raise Refused(f"{fresh} is in the way, and is none of ours", hint="remove it, or name another --out")
        for one in fresh.iterdir():
            shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()
        (fresh / _MARK).touch()
        yield fresh
    finally:
        if (fresh / _MARK).exists():
            shutil.rmtree(fresh, ignore_errors=True)
        os.close(holder)


def _adapt(plan: Plan, adapter: lora.Adapter, fresh: Path, report: Report) -> None:
    """Add LoRA weights into what was written, or put them beside it."""
    if plan.wish.lora == "fuse":
        from wardian.checkpoints.fusing import fuse  # with numpy, which a plain merge does without

        fuse(adapter, fresh, plan.files, report)
        return
    beside = fresh / lora.FOLDER
    beside.mkdir()
    write(beside, adapter.files, threads=plan.wish.threads, verify=plan.wish.verify)
    (beside / "adapter_config.json").write_text(adapter.config(), encoding="utf-8")


def _side(plan: Plan, fresh: Path) -> None:
    """Copy everything that is no weight byte for byte; in ``config.json`` the dtype is set, and nothing else."""
    side = plan.source.side
    for path in sorted(side.rglob("*")) if side else ():
        name = path.relative_to(side or fresh)
        if path.is_file() and path.name != _MARK and not _WEIGHTS.fullmatch(path.name):
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, fresh / name)
    config = fresh / "config.json"
    if config.exists() and plan.wish.dtype:
        config.write_text(with_dtype(config.read_text(encoding="utf-8"), plan.wish.dtype), encoding="utf-8")


def with_dtype(text: str, dtype: str) -> str:
    """The text of a ``config.json`` with another dtype; all else stays as it was written."""
    before = json.loads(text)
    name = "dtype" if "dtype" in before or "torch_dtype" not in before else "torch_dtype"
    wanted = {**before, name: dtype}
    if name in before:
        for match in re.finditer(rf'"{name}"\s*:\s*("(?:[^"\\]|\\.)*"|null)', text):
            changed = f'{text[: match.start(1)]}"{dtype}"{text[match.end(1) :]}'
            if json.loads(changed) == wanted:
                return changed
    return json.dumps(wanted, indent=2, ensure_ascii=False) + "\n"


def _manifest(plan: Plan, folder: Path, report: Report) -> dict[str, Any]:
    """What was merged from what into what; with ``verify`` also the sha256 of every tensor and file."""
    source, wish = plan.source, plan.wish
    listed: dict[str, Any] = {}
    written: dict[str, Any] = {}
    for file in plan.files:
        stored = tensors(folder / file.name)
        sums: tuple[str | None, Mapping[str, str]] = (None, {})
        if wish.verify:
            sums = digests(
                folder / file.name, {key: (one.start, one.size) for key, one in stored.items()}, wish.threads
            )
        written[file.name] = {"size": (folder / file.name).stat().st_size, "sha256": sums[0]}
        for key, one in stored.items():
            entry = {"dtype": one.dtype, "shape": list(one.shape), "file": file.name, "start": one.start}
            listed[key] = {**entry, "size": one.size, "sha256": sums[1].get(key)}
    cast = {one.key: one.whole.dtype for file in plan.files for one in file.tensors if one.dtype != one.whole.dtype}
    return {
        "wardian": __version__,
        "kind": source.kind,
        "ranks": source.world,
        "mesh": list(source.mesh),
        "inputs": [{"name": path.name, "size": path.stat().st_size} for path in source.inputs],
        "wish": {"dtype": wish.dtype, "tied": wish.tied, "keys": wish.keys, "lora": wish.lora, "largest": wish.largest},
        "verified": wish.verify,
        "files": written,
        "tensors": listed,
        "dropped": dict(plan.dropped),
        "cast": cast,
        "odd": {key: asdict(one) for key, one in sorted(report.counts.items()) if one.nan or one.inf or one.overflow},
    }


def _synced(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _put(fresh: Path, out: Path) -> None:
    """Put a whole folder in its place; what was there is removed only after that.

    Killed at any moment, nothing without our mark is left under the name of ``fresh``.
    """
    if not out.exists() or not any(out.iterdir()):
        fresh.rename(out)
    else:
        (out / _MARK).touch()
        call = ctypes.CDLL(None, use_errno=True).renameat2
        if call(_AT, os.fsencode(fresh), _AT, os.fsencode(out), _EXCHANGE):  # NFS cannot: for a moment there is none
            aside = out.with_name(f"{out.name}.old")
            out.rename(aside)
            fresh.rename(out)
            shutil.rmtree(aside)
        else:
            shutil.rmtree(fresh)
    (out / _MARK).unlink()

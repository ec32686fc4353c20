"""Where the runs of a project lie: ``.wardian/runs/<id>/``, or the store's folder when the project is read-only."""

import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wardian.errors import WardianError
from wardian.runs.record import Record, read


@dataclass(frozen=True, slots=True)
class Run:
    """A record and the folder it lies in."""

    record: Record
    folder: Path

    def now(self) -> Record:
        """The record as it has become. Raises ``WardianError`` when somebody removed it."""
        try:
            return read(self.folder).now()
        except (OSError, ValueError) as error:
            raise WardianError(f"the record of run {self.record.id} is gone", hint="type: wardian runs") from error


@dataclass(frozen=True, slots=True)
class Shelf:
    """The runs of one project. ``state`` is its ``.wardian`` folder, ``home`` the store's folder."""

    state: Path
    home: Path

    def make(self, run_id: str) -> tuple[Path, bool]:
        """A new run's folder; False beside it when the project's folder cannot be written to."""
        try:
            self.state.mkdir(exist_ok=True)
            ignore = self.state / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
            return _folder(self.state / "runs", run_id), True
        except OSError:
            pass
        try:
            return _folder(self.home / "runs", run_id), False
        except OSError as error:
            where = f"{self.state} and {self.home}"
            raise WardianError(f"nowhere to keep the run's record: {where} cannot be written to: {error}") from error

    def all(self) -> list[Run]:
        """The runs, the oldest first, each with the state it has now. What is not a record is passed over."""
        found = [*self._in(self.state / "runs"), *(run for run in self._in(self.home / "runs") if self._ours(run))]
        return sorted(found, key=lambda run: (run.record.created, run.record.id))

    def find(self, word: str) -> Run:
        """The run with this id, name (of the latest so named), or beginning of an id; ``@last`` is the latest."""
        runs = self.all()
        if word == "@last" and runs:
            return runs[-1]
        for wanted in (
            [run for run in runs if run.record.id == word],
            [run for run in runs if run.record.name == word][-1:],
            [run for run in runs if word and run.record.id.startswith(word)],
        ):
            if len(wanted) > 1:
                ids = ", ".join(run.record.id for run in wanted[:5])
                raise WardianError(f"{word!r} begins the ids of {len(wanted)} runs: {ids}")
            if wanted:
                return wanted[0]
        raise _unknown(word, runs, self.state.parent)

    def _ours(self, run: Run) -> bool:
        return run.record.project is None or Path(run.record.project) == self.state.parent

    @staticmethod
    def _in(folder: Path) -> Iterator[Run]:
        if not folder.is_dir():
            return
        for entry in folder.iterdir():
            try:
                yield Run(read(entry).now(), entry)
            except (OSError, ValueError):
                continue


def _unknown(word: str, runs: Sequence[Run], project: Path) -> WardianError:
    """The error for a word that means no run, with the name that was probably meant, or where nothing was run."""
    if not runs:
        said = f"there is no run {word!r}: nothing was run in {project}"
        return WardianError(said, hint="go to the project's folder, or name it with -C")
    from difflib import get_close_matches

    near = get_close_matches(word, ["@last", *(run.record.name for run in runs if run.record.name)], n=1)
    hint = f"did you mean {near[0]}?" if near else "type: wardian runs"
    return WardianError(f"there is no run {word!r} of {project}", hint=hint)


def _folder(parent: Path, run_id: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / run_id
    while True:
        try:
            folder.mkdir(mode=0o755)
        except FileExistsError:
            folder = parent / f"{run_id}{secrets.token_hex(1)}"
            continue
        if not os.access(folder, os.W_OK):
            raise PermissionError(str(folder))
        return folder

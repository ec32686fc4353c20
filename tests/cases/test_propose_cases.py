"""Every folder of ``propose/`` is a case: what a project has in, ``expected.toml`` and ``notes.txt`` out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from wardian.spec.load import Source, load
from wardian.spec.matrix import expand
from wardian.spec.propose import propose

NAMES = {"broken.toml": "pyproject.toml"}  # ruff reads every pyproject.toml it meets
CASES = sorted(path for path in (Path(__file__).parent / "propose").iterdir() if path.is_dir())


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_case(case: Path, expected: Callable[[Path, str], None]) -> None:
    inputs = case / "input"
    paths = [path for path in sorted(inputs.rglob("*")) if path.is_file()]
    found = {NAMES.get(path.name, path.relative_to(inputs).as_posix()): path.read_text() for path in paths}
    proposal = propose(found, name=case.name)
    expand(load([Source("wardian.toml", proposal.text)]).spec)
    expected(case / "expected.toml", proposal.text)
    expected(case / "notes.txt", "".join(f"{note}\n" for note in proposal.notes))

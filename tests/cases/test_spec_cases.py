"""Every folder of ``spec/`` is a case: sources in, the variants with the origin of each value out, or every fault.

``wardian.toml`` or ``pyproject.toml``, ``local.toml``, ``user.toml``, ``dotenv``, ``environment`` (NAME=value lines),
``flags`` (a --set on each line); ``expected.json`` or ``faults.txt``. ``pytest --update`` rewrites the latter.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wardian.console import Console
from wardian.errors import SpecError
from wardian.hosts.local import LocalHost
from wardian.workspace import Workspace

NAMES = {"local.toml": "wardian.local.toml", "dotenv": ".env"}  # git ignores the real names
CASES = sorted(path for path in (Path(__file__).parent / "spec").iterdir() if path.is_dir())


def workspace(case: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for path in case.iterdir():
        shutil.copy(path, folder / NAMES.get(path.name, path.name))
    monkeypatch.chdir(folder)
    environ = {}
    if (case / "environment").exists():
        environ = dict(line.split("=", 1) for line in (case / "environment").read_text().splitlines())
    if (case / "user.toml").exists():
        environ["WARDIAN_CONFIG"] = "user.toml"
    flags = (case / "flags").read_text().splitlines() if (case / "flags").exists() else []
    return Workspace(folder, environ, Console(), LocalHost(), tuple(flags))


def described(space: Workspace) -> str:
    variants = {
        variant.id: {
            "parent": variant.parent,
            "image": variant.image.model_dump(mode="json", by_alias=True, exclude_unset=True),
        }
        for variant in space.images
    }
    rest = space.spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"images"})
    return (
        json.dumps({"variants": variants, **rest, "origin": space.loaded.origin}, indent=2, ensure_ascii=False) + "\n"
    )


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_case(
    case: Path, expected: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    try:
        text, name, other = described(workspace(case, tmp_path, monkeypatch)), "expected.json", "faults.txt"
    except SpecError as error:
        hint = f"  {error.hint}\n" if error.hint else ""
        text, name, other = f"{error.message}\n{hint}", "faults.txt", "expected.json"
    assert not (case / other).exists(), text
    expected(case / name, text)

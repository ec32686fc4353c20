"""What a transfer without a project loads: a third of a small one's time was a specification that nobody asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("words", [("push", "absent:1", "--to", "127.0.0.1:1/x"), ("pull", "127.0.0.1:1/x/y:1")])
def test_without_a_project_no_specification_is_loaded(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "wardian", *words],
        cwd=tmp_path,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "wardian.registry" in done.stderr or "there is no image" in done.stderr
    assert "pydantic" not in done.stderr

"""Where uv is, and what is said when it is gone."""

import os
from pathlib import Path

import pytest
import uv

from wardian.builders.uv import program
from wardian.errors import Unavailable


def test_uv_is_the_one_that_was_installed_with_wardian() -> None:
    assert Path(program()).name == "uv"
    assert os.access(program(), os.X_OK)


def test_a_uv_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(uv, "find_uv_bin", gone)
    with pytest.raises(Unavailable, match="uv, which Wardian installs beside itself, is gone") as caught:
        program()
    assert caught.value.hint == "type: pip install --force-reinstall uv"

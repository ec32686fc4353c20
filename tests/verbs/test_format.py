"""Which formatter a project names; the formatting itself is in test_agentgym."""

from pathlib import Path

import pytest

from wardian.errors import SpecError
from wardian.verbs.format import configured

FILES = {
    ".style.yapf": "[style]\n",
    "ruff.toml": "line-length = 100\n",
    ".ruff.toml": "",
    "setup.cfg": "[yapf]\nbased_on_style = google\n",
}


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        *((file, text, "ruff" if "ruff" in file else "yapf") for file, text in FILES.items()),
        ("pyproject.toml", "[tool.yapf]\n", "yapf"),
        ("pyproject.toml", "[tool.black]\nline-length = 100\n", "black"),
        ("pyproject.toml", "[tool.ruff]\nline-length = 100\n", "ruff"),
        ("pyproject.toml", "[tool.ruff]\nline-length = 100\n[tool.black]\n", "black"),  # ruff lints there
    ],
)
def test_a_project_names_its_formatter(tmp_path: Path, file: str, text: str, name: str) -> None:
    (tmp_path / file).write_text(text)
    assert configured(tmp_path) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no formatter"),
        ("[project]\nname = 'x'\n", "names no formatter"),
        ("tool = 3\n", "names no formatter"),
        ("[tool.black]\n[tool.yapf]\n", "names yapf and black"),
        ("[", r"pyproject\.toml"),
    ],
)
def test_what_names_none_or_several_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(SpecError, match=said):
        configured(tmp_path)

"""CDI specifications on disk."""

import json
from pathlib import Path

import pytest

from wardian.errors import WardianError
from wardian.hosts.cdi import devices, sonames
from wardian.plan.containers import Bind

SPEC = {"kind": "v.com/gpu", "devices": [{"name": "0", "containerEdits": {"env": ["A=1"]}}]}


def test_json_and_yaml_are_read_and_the_later_folder_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "etc", tmp_path / "run"
    first.mkdir()
    second.mkdir()
    (first / "a.json").write_text(json.dumps(SPEC))
    (second / "b.yaml").write_text(
        "kind: v.com/gpu\ndevices:\n- name: '0'\n  containerEdits:\n    env: [A=2]\n- name: 1\n  containerEdits: {}\n"
    )
    (first / "notes.txt").write_text("not one")
    found = devices((str(first), str(second), str(tmp_path / "none")))
    assert found.edits["v.com/gpu=0"].env == (("A", "2"),)
    assert set(found.edits) == {"v.com/gpu=0", "v.com/gpu=1"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "cannot be read"),
        ("a.yaml", "a: [", "is not YAML"),
        ("a.yaml", "just text", "is not a CDI specification"),
        ("a.json", "[]", "is not a CDI specification"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(WardianError, match=said) as caught:
        devices((str(tmp_path),))
    assert name in caught.value.message
    assert "\n" not in caught.value.message


def test_links_that_ldconfig_would_make(tmp_path: Path) -> None:
    library = tmp_path / "libcuda.so.550.54"
    library.touch()
    (tmp_path / "libcuda.so.1").symlink_to("libcuda.so.550.54")
    (tmp_path / "libcuda.so").symlink_to("libcuda.so.1")
    (tmp_path / "libcudart.so.1").symlink_to("elsewhere")
    (tmp_path / "data").touch()
    edits = sonames(
        [
            Bind(str(library), "/usr/lib/libcuda.so.550.54"),
            Bind(str(tmp_path / "data"), "/data"),
            Bind("/none.so", "/x"),
        ]
    )
    assert set(edits.links) == {
        ("libcuda.so.550.54", "/usr/lib/libcuda.so.1"),
        ("libcuda.so.550.54", "/usr/lib/libcuda.so"),
    }

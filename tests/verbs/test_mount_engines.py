"""The mounts of a project in real engines: each is told the same, also what is hard to say, and the program sees it."""

import os
import shlex
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.images import add_image, layer
from tests.rootfs import MODES, defaults, files
from tests.verbs.running import LOCKED, make_project, records
from wardian.plan.labels import OURS, lock_digest
from wardian.store.store import Store

Wardian = Callable[..., Any]
SITE = "opt/env/lib/python3.11/site-packages"
SEE = f"""\
cat /{SITE}/rsl_rl/__init__.py /{SITE}/six.py /data/file
echo more >>/{SITE}/rsl_rl/new && echo written
echo more 2>/dev/null >/data/new || echo closed
[ -S "$SSH_AUTH_SOCK" ] && echo agent
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, need: Callable[..., None]) -> Path:
    need("busybox")
    store = tmp_path / "store"
    monkeypatch.setenv("WARDIAN_HOME", str(store))
    installed = {f"{SITE}/{name}": b"installed\n" for name in ("rsl_rl/__init__.py", "six.py")}
    labels = {f"{OURS}lock": lock_digest(LOCKED), f"{OURS}image": "train", f"{OURS}python": "3.11"}
    config = {"WorkingDir": "/workspace", "Labels": labels, "Env": ["PATH=/bin", "VIRTUAL_ENV=/opt/env"]}
    layers = [layer(files(), modes=MODES), layer(installed)]
    add_image(Store(store), "demo/train:latest", layers, config=defaults(config))
    return make_project(tmp_path / "project", 'gpus = "none"\nforward = ["ssh-agent"]')


@pytest.mark.parametrize("name", ["docker", "podman", "sandbox"])
def test_every_engine_has_the_same_mounts(
    *,
    name: str,
    wardian: Wardian,
    project: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    need: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = None if name == "sandbox" else request.getfixturevalue(name)
    if engine is None:
        need("bwrap", "unshare")
    strange = tmp_path / "a, \"b\":'c' é\n$HOME"
    (strange / "rsl_rl").mkdir(parents=True)
    (strange / "rsl_rl/__init__.py").write_text("mine\n")
    (strange / "six.py").write_text("my six\n")
    (strange / "file").write_text("data\n")
    wardian("mount", "set", "rsl_rl", str(strange), cwd=project)
    wardian("mount", "set", "six", str(strange), cwd=project)
    wardian("mount", "set", "data", str(strange), "--target", "/data", "--read-only", cwd=project)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        done = wardian("run", "--engine", name, "--", "sh", "-c", SEE, cwd=project)
    assert done.out == "mine\nmy six\ndata\nwritten\nclosed\nagent\n"
    assert (strange / "rsl_rl/new").read_text() == "more\n"
    assert (strange / "rsl_rl/new").stat().st_uid == os.getuid()
    assert len(records(project)[-1].mounts) == 3
    if engine is not None:  # the words that are shown, typed to the engine's own program
        words = shlex.split(wardian("mount", "show", "--format", name, cwd=project).out)
        image = "wardian-mounts-test:latest"
        engine.run("import", "--change", "ENV PATH=/bin", "-", image, stdin=layer(files(), modes=MODES))
        said = engine.run(
            "run", "--rm", *words, image, "cat", f"/{SITE}/rsl_rl/__init__.py", f"/{SITE}/six.py", "/data/file"
        )
        assert said.stdout == "mine\nmy six\ndata\n"
    for one in ("rsl_rl", "six", "data"):
        wardian("mount", "disable", one, cwd=project)
    seen = wardian("run", "--engine", name, "--", "cat", f"/{SITE}/rsl_rl/__init__.py", cwd=project).out
    assert seen == "installed\n"
    if engine is None:
        subprocess.run(["unshare", "--mount", "rm", "-rf", str(tmp_path / "store/unpacked")], check=False)

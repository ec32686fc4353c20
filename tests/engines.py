"""The engines that tests use: each worker's own Docker daemon and Podman of each kind, begun when asked for.

No two tests use an engine at once: what one removes or ends there is never another's. Their scripts are in
``scripts/lab``; their images lie in the worker's base folder. They end with the test run, also when it is killed: each
waits for the process that began the run.
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LAB = Path(__file__).parent.parent / "scripts" / "lab"
CONTROLLER = "TEST_RUN_PID"  # the variable by which all workers know the process that began the test run
SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"  # where iptables and runc are, which a plain user's PATH may lack


class Absent(Exception):
    """An engine cannot be had here, and why."""


@dataclasses.dataclass(frozen=True)
class Engine:
    """An engine that runs: ``env`` are the variables that lead to it, ``prefix`` the words that make us its user."""

    program: str  # docker or podman
    env: Mapping[str, str]
    prefix: tuple[str, ...] = ()

    @property
    def environ(self) -> dict[str, str]:
        """The whole environment of a program that is to use it."""
        return {**os.environ, **self.env}

    def argv(self, *words: str) -> tuple[str, ...]:
        """A command line of the engine's own program, for a process that has its environment."""
        return (*self.prefix, self.program, *words)

    def run(self, *words: str, check: bool = True, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        """Run the engine's own program to its end; what it said is in the failure."""
        done = subprocess.run(
            self.argv(*words),
            env=self.environ,
            cwd="/",
            input=stdin if stdin is not None else b"",
            capture_output=True,
            check=False,
        )
        said = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
        assert not check or done.returncode == 0, f"{words} exited with {done.returncode}\n{said.stdout}{said.stderr}"
        return said

    def json(self, *words: str) -> Any:
        """The answer of a command line, parsed."""
        return json.loads(self.run(*words).stdout)


def docker(base: Path, store: str = "graph") -> Engine:
    """A Docker daemon with its images below ``base``; ``store`` is graph or containerd. Raises ``Absent``."""
    if os.getuid():
        raise Absent("a Docker daemon of our own needs root")
    if not (LAB.parent.parent / ".cache" / "lab" / "docker-sid").is_dir() and "LAB" not in os.environ:
        raise Absent("Docker is not unpacked; type: make setup")
    found = _began(base, "docker.sh", store, {"STORE": store, "RUN": str(base / f"docker-{store}")})
    return Engine("docker", found)


def podman(base: Path, user: str = "", prefix: tuple[str, ...] = ()) -> Engine:
    """A Podman with its images below ``base``, ours or that of a plain user whom ``prefix`` makes us.

    Raises ``Absent``.
    """
    missing = [name for name in ("podman", "runc") if shutil.which(name, path=f"{os.environ['PATH']}:{SYSTEM}") is None]
    if missing:
        raise Absent(f"not on this machine: {', '.join(missing)}")
    if not user and os.getuid():
        raise Absent("Podman as root needs root")
    if user:
        for device in ("/dev/fuse", "/dev/net/tun"):
            if Path(device).exists() and Path(device).stat().st_mode & 0o006 != 0o006:
                raise Absent(f"{device} is closed to plain users; type: make setup")
    return Engine("podman", _began(base, "podman.sh", user, {}), prefix)


def end(base: Path) -> None:
    """End every engine of a test run; only the process that began the run may."""
    for marker in _markers(base):
        began = json.loads(marker.read_text())
        subprocess.run(began["down"], env={**os.environ, **began["environ"]}, check=False)
        marker.unlink()


def told(base: Path) -> list[str]:
    """A line for each engine that was asked for: how long it took to begin, or why it could not."""
    began = [json.loads(marker.read_text()) for marker in _markers(base)]
    return [f"{one['name']}: {one.get('absent') or 'began'} in {one['seconds']:.1f} s" for one in began]


def _markers(base: Path) -> list[Path]:
    """What the engines of a test run have left of themselves: in its base folder, or in those of its workers."""
    return sorted([*base.glob("engine-*.json"), *base.glob("*/engine-*.json")])


def _began(base: Path, script: str, argument: str, more: Mapping[str, str]) -> dict[str, str]:
    """Begin an engine once; the variables that lead to it. One that could not begin stays so."""
    words = [argument] if script == "podman.sh" and argument else []
    name = f"{script.removesuffix('.sh')} {argument}".strip()
    marker = base / f"engine-{name.replace(' ', '-')}.json"
    if not marker.exists():
        started = time.monotonic()
        environ = {"DATA": str(base), "WATCH": os.environ[CONTROLLER], **more}
        began: dict[str, Any] = {"environ": environ, "down": [str(LAB / script), "down", *words]}
        try:
            _script(script, "up", *words, environ=environ)
            said = _script(script, "env", *words, environ=environ)
        except Absent as absent:
            began |= {"absent": str(absent)}
        else:
            began |= {"env": dict(re.findall(r"(\w+)='([^']*)'", said))}
        began |= {"name": name, "seconds": time.monotonic() - started}
        marker.write_text(json.dumps(began))
    found = json.loads(marker.read_text())
    if "absent" in found:
        raise Absent(found["absent"])
    env: dict[str, str] = found["env"]
    before = f"{env['PATH']}:" if "PATH" in env else ""
    return {**env, "PATH": f"{before}{os.environ['PATH']}:{SYSTEM}"}


def _script(script: str, *words: str, environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        [LAB / script, *words], env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Absent(f"scripts/lab/{script} {' '.join(words)} failed: {done.stderr.strip()[-600:]}")
    return done.stdout

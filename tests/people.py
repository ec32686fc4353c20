"""The users that a sandbox is tried as: root, a plain user with subordinate ids, a plain user with one id."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pydantic

SINGLE = 61888  # a uid that no /etc/subuid names
SOURCE = Path(__file__).parent.parent / "src"


@dataclasses.dataclass(frozen=True)
class Person:
    """A user: words that run a program as them, and a Python that can import Wardian."""

    kind: str  # as hosts.sandbox calls it
    uid: int
    gid: int
    prefix: tuple[str, ...]

    def python(self) -> tuple[str, ...]:
        """The words before ``-m wardian``. The interpreter of a virtual environment under /root is closed to others."""
        libraries = f"PYTHONPATH={SOURCE}:{Path(str(pydantic.__file__)).parent.parent}:{SOURCE.parent}"
        version = f"python3.{sys.version_info.minor}"
        for program in filter(None, (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin"))):
            words = (*self.prefix, "env", libraries, "PYTHONDONTWRITEBYTECODE=1", program)
            if subprocess.run([*words, "-c", "import wardian"], capture_output=True, check=False).returncode == 0:
                return words
        raise AssertionError(f"no {version} that uid {self.uid} can use; install it from the distribution")

    def own(self, path: Path) -> Path:
        """Give a tree to the user, and let them walk to it."""
        if self.prefix:
            subprocess.run(["chown", "-R", f"{self.uid}:{self.gid}", str(path)], check=True)
            for parent in path.parents:
                if parent.stat().st_mode & 0o001 == 0:
                    parent.chmod(parent.stat().st_mode | 0o011)
        return path


def hear_signals() -> None:
    """For a child: undo what a shell, or nohup, does to background jobs, which ignore these signals ever after."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def ourselves() -> Person:
    """Who runs the tests."""
    return Person("root" if os.getuid() == 0 else "subids", os.getuid(), os.getgid(), ())


def single() -> Person:
    """A user without subordinate ids; only root can become one."""
    drop = ("setpriv", f"--reuid={SINGLE}", f"--regid={SINGLE}", "--clear-groups", "--inh-caps=-all")
    return Person("single", SINGLE, SINGLE, (*drop, "env", "HOME=/tmp"))

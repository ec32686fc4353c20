"""A small disk that can be filled, closed and enlarged, without touching the machine's mounts."""

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_HOLD = 'mount -t tmpfs -o "size=$2,mode=755" tmpfs "$1" && echo ready && exec cat'
_IN = 'cd "$1" && shift && exec "$@"'


@dataclasses.dataclass(frozen=True)
class Disk:
    """A tmpfs at ``at`` that only the commands run with it see."""

    at: Path
    holder: int  # the process whose mount namespace has it

    @property
    def seen(self) -> Path:
        """Where its files can be reached from here."""
        return Path(f"/proc/{self.holder}/root{self.at}")

    def run(
        self, words: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None, code: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that sees the disk; it must end with ``code``."""
        user = () if os.getuid() == 0 else ("--user", "--preserve-credentials")
        enter = ("nsenter", "--target", str(self.holder), "--mount", *user, "--", "sh", "-c", _IN, "sh", str(cwd))
        done = subprocess.run([*enter, *words], env=env, capture_output=True, text=True, check=False)
        assert code is None or done.returncode == code, f"{words} ended with {done.returncode}\n{done.stderr}"
        return done

    def fill(self, left: int = 0) -> None:
        """Leave this many bytes free, rounded up to a page."""
        used = shutil.disk_usage(self.seen)
        self.change(f"size={used.used + left + 4095 & ~4095}")

    def change(self, option: str) -> None:
        """Mount it again with another option: ``size=…``, ``ro``, ``rw``."""
        self.run(["mount", "-o", f"remount,{option}", str(self.at)], cwd=Path("/"))


@contextmanager
def disk(at: Path, size: str) -> Iterator[Disk]:
    """A disk of this size at an empty folder, which is made."""
    at.mkdir(parents=True)
    private = ("unshare", "--mount") if os.getuid() == 0 else ("unshare", "--user", "--map-root-user", "--mount")
    pipe = subprocess.PIPE
    with subprocess.Popen([*private, "sh", "-c", _HOLD, "sh", str(at), size], stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"ready\n"
        yield Disk(at, holder.pid)

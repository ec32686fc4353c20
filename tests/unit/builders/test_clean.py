"""What stays out of system layers."""

import pytest

from wardian.builders.clean import dropped


@pytest.mark.parametrize(
    "path",
    [
        *("var/log/dpkg.log", "var/log/apt/history.log", "var/log/btmp", "var/cache/apt/pkgcache.bin"),
        *("var/lib/apt/lists/debian.example.org_InRelease", "var/cache/ldconfig/aux-cache", "etc/machine-id"),
        *("var/lib/dpkg/status-old", "etc/passwd-", "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub"),
        *("usr/lib/python3/__pycache__", "usr/lib/python3/__pycache__/os.cpython-311.pyc", "__pycache__"),
        *(
            "run/x",
            "tmp/x/y",
            "var/tmp/x",
            "dev/null",
            "proc/1",
            "root/.cache/pip/x",
            "var/cache/debconf/config.dat-old",
        ),
    ],
)
def test_traces_are_dropped(path: str) -> None:
    assert dropped(path)


@pytest.mark.parametrize(
    "path",
    [
        *("var/log", "var/log/apt", "var/log/mine.log", "var/cache/apt", "var/lib/apt/lists", "var/lib/dpkg/status"),
        *("etc/passwd", "etc/ssh/sshd_config", "run", "tmp", "root/.bashrc", "usr/lib/python3/os.py", "devices/x"),
        *("opt/tool.pyc", "usr/share/doc/x/copyright", "var/cache/debconf/config.dat", "etc/machine-id.d"),
    ],
)
def test_everything_else_stays(path: str) -> None:
    assert not dropped(path)

"""Who uses a file says so by a shared lock, and lets go with the process, the object, or a word."""

import fcntl
import gc
import threading
from pathlib import Path

import pytest

from wardian.store.leases import Leases


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "use"
    found.touch()
    return found


def free(path: Path) -> bool:
    """Whether nobody uses it."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_is_taken_is_in_use_until_it_is_given_back(path: Path) -> None:
    leases = Leases()
    assert free(path)
    leases.take(path)
    leases.take(path)
    assert not free(path)
    leases.give_back(path)
    assert free(path)
    leases.give_back(path)


def test_two_may_use_the_same(path: Path) -> None:
    one, two = Leases(), Leases()
    one.take(path)
    two.take(path)
    one.give_back(path)
    assert not free(path)
    two.give_back(path)
    assert free(path)


def test_they_end_with_who_holds_them(path: Path) -> None:
    leases = Leases()
    leases.take(path)
    del leases
    gc.collect()
    assert free(path)


def test_what_is_not_there_cannot_be_used(path: Path) -> None:
    path.unlink()
    with pytest.raises(FileNotFoundError):
        Leases().take(path)


def test_what_was_replaced_while_it_was_taken_is_not_held(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        path.unlink()
        path.touch()
        lock(descriptor, how)

    monkeypatch.setattr("wardian.store.leases.fcntl.flock", late)
    before = open_files()
    with pytest.raises(FileNotFoundError, match="removed before it could be leased"):
        Leases().take(path)
    assert open_files() == before, "and its file is closed"


def test_threads_take_it_once(path: Path) -> None:
    leases = Leases()
    before = open_files()
    threads = [threading.Thread(target=leases.take, args=(path,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert open_files() == before + 1
    leases.give_back(path)
    assert free(path)

"""The store under many processes, under kill -9, on a full disk: nothing half-visible, nothing lost."""

import fcntl
import gzip
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.images import add_image, layer
from wardian.hosts.local import LocalHost
from wardian.hosts.sandbox import Namespace, namespace
from wardian.oci.digest import sha256
from wardian.oci.model import LAYER_GZIP
from wardian.store import unpacked
from wardian.store.files import write_file
from wardian.store.gc import litter, prune
from wardian.store.store import LayerRecord, Store
from wardian.store.verify import repair, verify

FORK = multiprocessing.get_context("fork")


def faults(store: Store) -> list[str]:
    return [f"{fault.place}: {fault.what}" for fault in verify(store, LocalHost(), None, note=lambda _: None)]


def tag_many(root: Path, worker: int) -> None:
    store = Store(root)
    for at in range(15):
        add_image(store, f"empo/train:w{worker}-{at}", [layer({"same": b"x" * 1000}), layer({"own": b"%d" % at})])
        store.remember(sha256(b"%d" % at), LayerRecord(sha256(b"x"), sha256(b"y"), 1, 1, "t"))


def test_eight_processes_lose_no_reference(tmp_path: Path) -> None:
    workers = [FORK.Process(target=tag_many, args=(tmp_path / "store", at)) for at in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    store = Store(tmp_path / "store")
    assert len(store.references()) == 8 * 15
    assert [fault for fault in faults(store) if "which is not here" not in fault] == []
    assert list(store.scratch.iterdir()) == []


@contextmanager
def child(work: Callable[[], None]) -> Iterator[int]:
    """A forked process that works until it is killed, in a session of its own, with everything it starts."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        try:
            os.setsid()
            while True:
                work()
        finally:
            os._exit(1)
    while os.getpgid(pid) != pid:
        time.sleep(0.001)
    yield pid
    os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the child ended by itself: what it does fails"


def write_and_tag(root: Path) -> None:
    store = Store(root)
    name = random.randbytes(4).hex()
    image = add_image(store, f"empo/train:{name[0]}", [layer({name: random.randbytes(200_000)})])
    store.remember(sha256(name.encode()), LayerRecord(image.digest, image.digest, image.size, 1, name))
    store.untag(f"empo/train:{name[1]}")


def test_a_writer_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    """Fifty times: afterwards each reference is whole, and the next process works."""
    root = tmp_path / "store"
    chance = random.Random(2)
    for at in range(50):
        with child(lambda: write_and_tag(root)):
            time.sleep(0.02 + chance.random() * 0.1)
        store = Store(root)
        assert [fault for fault in faults(store) if "names sha256" not in fault] == [], f"after kill {at}"
        add_image(store, "empo/after:latest", [layer({"at": b"%d" % at})])
        assert store.resolve("empo/after:latest")
    store = Store(root)
    assert {item.kind for item in litter(store, None)} <= {"blob", "temporary", "record"}
    prune(store, LocalHost(), None, said=lambda _: None)
    assert list(store.scratch.iterdir()) == []
    assert faults(store) == []
    assert litter(store, None) == []


@pytest.fixture(scope="module")
def inside(need: Callable[..., None]) -> Namespace:
    need("bwrap", "unshare", "setpriv")
    return namespace(LocalHost())


def test_unpacking_may_be_killed_at_any_moment(tmp_path: Path, inside: Namespace) -> None:
    """Fifty times: a tree that is marked is whole, and the next process unpacks what is missing."""
    store, host, chance = Store(tmp_path), LocalHost(), random.Random(3)
    tar = layer({f"d{at % 40}/file{at}": random.randbytes(2000) for at in range(400)})
    described = store.put(gzip.compress(tar, 1), LAYER_GZIP)
    wanted = unpacked.Layer(described.digest, sha256(tar))
    tree = unpacked.folder(store, inside, wanted.diff_id)
    started = time.monotonic()
    unpacked.ensure(store, host, inside, [wanted])
    whole = time.monotonic() - started
    kills = 0
    while kills < 50:
        unpacked.remove(host, inside, tree)
        with child(lambda: unpack_and_wait(Store(tmp_path), inside, wanted)):
            time.sleep(chance.random() * whole * 1.1)
        kills += 1
        if unpacked.is_done(tree):
            assert unpacked.changed(host, inside, tree) is None
            assert len(list(tree.glob("*/file*"))) == 400
    unpacked.ensure(Store(tmp_path), host, inside, [wanted])
    assert len(list(tree.glob("*/file*"))) == 400
    prune(store, host, inside, said=lambda _: None)
    assert list(store.scratch.iterdir()) == []


def unpack_and_wait(store: Store, inside: Namespace, layer: unpacked.Layer) -> None:
    unpacked.ensure(store, LocalHost(), inside, [layer])
    time.sleep(9)


def test_processes_that_unpack_the_same_layer_share_the_work(tmp_path: Path, inside: Namespace) -> None:
    store, host = Store(tmp_path), LocalHost()
    tar = layer({f"file{at}": b"x" for at in range(300)})
    described = store.put(gzip.compress(tar, 1), LAYER_GZIP)
    wanted = [(described.digest, sha256(tar))]
    workers = [FORK.Process(target=unpacked.ensure, args=(Store(tmp_path), host, inside, wanted)) for _ in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    [tree] = unpacked.ensure(store, host, inside, wanted)
    assert len(list(tree.iterdir())) == 300
    assert list(store.scratch.iterdir()) == []


FULL = """
import sys
from pathlib import Path
from wardian.errors import WardianError
from wardian.store.store import Store
store = Store(Path(sys.argv[1]))
kept = store.put(b"kept", "x").digest
store.tag("a/b:c", store.put(b"kept", "x"))
try:
    store.ingest(b"x" * 65536 for _ in range(200))
except WardianError as error:
    assert "\\n" not in error.message, error.message
    print(error.message, "|", error.hint)
else:
    sys.exit("a full disk was not noticed")
assert store.read(kept) == b"kept"
assert [path.name for path in store.scratch.iterdir()] == []
assert len(list(store.blobs.iterdir())) == 1
try:
    for at in range(5000):
        store.tag(f"a/b:{at:0100}", store.put(b"kept", "x"))
except WardianError as error:
    print(error.message)
names = len(store.references())
assert names > 1
(Path(sys.argv[1]).parent / "filler").unlink(missing_ok=True)
store.untag("a/b:c")
assert len(store.references()) == names - 1
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, need: Callable[..., None]) -> None:
    need("unshare", "mount")
    place = tmp_path / "small disk"
    place.mkdir()
    script = 'mount -t tmpfs -o size=200k,nr_inodes=200 tmpfs "$1" && exec "$2" -c "$3" "$1/store"'
    private = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    done = subprocess.run(
        [*private, "sh", "-c", script, "sh", str(place), sys.executable, FULL],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"no space is left on the disk: cannot write to the store at {place}/store | ")
    assert "wardian store prune" in first


@pytest.fixture
def unpacking(tmp_path: Path) -> tuple[Store, tuple[str, str]]:
    """A store with a layer that no image has."""
    store = Store(tmp_path)
    tar = layer({f"file{at}": b"x" for at in range(30)})
    return store, (store.put(gzip.compress(tar, 1), LAYER_GZIP).digest, sha256(tar))


def test_prune_leaves_a_tree_that_was_unpacked_but_not_marked_yet(
    unpacking: tuple[Store, tuple[str, str]], inside: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark comes after the rename; on a slow disk there is time between them."""
    store, wanted = unpacking
    (store.root / "locks" / "use").touch()
    pruner = threading.Thread(target=lambda: prune(Store(store.root), LocalHost(), inside, said=lambda _: None))

    def slowly(*arguments: Any, **settings: Any) -> None:
        if pruner.ident is None:
            pruner.start()
            time.sleep(0.5)
        write_file(*arguments, **settings)

    image = add_image(store, "empo/train:latest", [gzip.decompress(store.read(wanted[0]))])
    [found] = unpacked.layers_of(store, image.digest)
    other = Store(store.root)
    store.__dict__["_leases"].give_back(store.root / "locks" / "use")  # as `run`, which writes no blob
    monkeypatch.setattr(unpacked, "write_file", slowly)
    [tree] = unpacked.ensure(other, LocalHost(), inside, [found])
    pruner.join()
    assert len(list(tree.iterdir())) == 30
    assert unpacked.is_done(tree)


def test_a_lease_on_what_was_pruned_meanwhile_is_none(
    unpacking: tuple[Store, tuple[str, str]], inside: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prune may take the marker between its being opened and its being leased: the next tree needs another lease."""
    store, wanted = unpacking
    host = LocalHost()
    [tree] = unpacked.ensure(Store(store.root), host, inside, [wanted])
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        unpacked.remove(host, inside, tree)
        flock(descriptor, operation)

    other = Store(store.root)
    monkeypatch.setattr(fcntl, "flock", late)
    unpacked.ensure(other, host, inside, [wanted])
    assert unpacked.is_done(tree)
    assert not unpacked.removed_if_free(store, host, inside, tree)
    del other
    assert unpacked.removed_if_free(store, host, inside, tree)


def test_repair_leaves_a_tree_that_runs(unpacking: tuple[Store, tuple[str, str]], inside: Namespace) -> None:
    store, wanted = unpacking
    runner = Store(store.root)
    [tree] = unpacked.ensure(runner, LocalHost(), inside, [wanted])
    (tree / "file1").write_text("changed by hand")
    found = [fault for fault in verify(store, LocalHost(), inside, note=lambda _: None) if fault.place == str(tree)]
    assert len(found) == 1
    assert repair(store, found) == found
    assert (tree / "file1").exists()
    del runner
    assert repair(store, found) == []
    assert not tree.exists()


def test_one_wardian_waits_for_the_other_and_says_nothing_wrong(tmp_path: Path) -> None:
    """A lock is released by the kernel when its holder is killed."""
    store = Store(tmp_path)
    store.prepare()

    def hold() -> None:
        with Store(tmp_path).lock("layer-x"):
            time.sleep(60)

    with child(hold):
        time.sleep(0.3)
    with store.lock("layer-x"):
        pass


def test_threads_wait_for_each_other(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    store, inside_now, most = Store(tmp_path), [0], [0]

    def work(_: int) -> None:
        with store.lock("one"):
            inside_now[0] += 1
            most[0] = max(most[0], inside_now[0])
            time.sleep(0.005)
            inside_now[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(24)))
    assert most == [1]

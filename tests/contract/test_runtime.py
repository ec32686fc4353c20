"""What every runtime must do, for every user it can run as: argv, exit codes, signals, files, terminals."""

import dataclasses
import fcntl
import json
import os
import pty
import select
import shlex
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.images import add_image, layer
from tests.people import Person, hear_signals, ourselves, single
from tests.rootfs import MODES, add_busybox, defaults, files, run_folders
from wardian.hosts.local import LocalHost
from wardian.hosts.sandbox import namespace
from wardian.runs.processes import children, inner
from wardian.store import unpacked
from wardian.store.store import Store

DRIVE = Path(__file__).parent / "drive.py"
# Which runtime, for whom; only root can become another user.
WORLDS = [
    ("sandbox", "root"),
    ("sandbox", "subids"),
    ("sandbox", "single"),
    ("docker", "root"),
    ("docker", "subids"),
    ("podman", "root"),
    ("podman", "subids"),
]
OURS = [world for world in WORLDS if os.getuid() == 0 or world in (("sandbox", "subids"), ("podman", "subids"))]
SOME = {("sandbox", "single"), ("docker", "subids")}  # these differ from others in whose files are whose alone
HOST = (["/usr", "/usr"], ["/lib", "/lib"], ["/lib64", "/lib64"])  # the host's Python, for tests that need one inside


@dataclasses.dataclass
class World:
    """One runtime, one user, one store with a small image, one folder of theirs."""

    runtime: str
    person: Person
    python: tuple[str, ...]
    store: Path
    folder: Path

    @property
    def real(self) -> bool:
        """Whether a uid that is asked for is one on this machine too, and not a name inside for the caller's."""
        return self.person.kind == "root" or self.runtime == "docker"

    @property
    def owner(self) -> str:
        """The user mode in which the image's files are the program's own: in a plain user's sandbox, any."""
        return "host" if self.runtime == "sandbox" else "root"

    def words(self, *argv: str, **container: Any) -> list[str]:
        """The command that runs a program in the image."""
        description = self.folder.parent / "container.json"
        container = {"argv": argv, "workdir": "/", **container}
        description.write_text(json.dumps(container, ensure_ascii=True), encoding="utf-8")
        return [*self.python, str(DRIVE), self.runtime, str(self.store), str(description)]

    def run(self, *argv: str, stdin: bytes = b"", **container: Any) -> "subprocess.CompletedProcess[bytes]":
        """Run a program to its end."""
        return subprocess.run(self.words(*argv, **container), input=stdin, capture_output=True, timeout=60, check=False)

    def out(self, *argv: str, **container: Any) -> str:
        """What a program prints; it must succeed."""
        done = self.run(*argv, **container)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def start(self, *argv: str, **container: Any) -> "subprocess.Popen[bytes]":
        """Start a program in a session of its own."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.words(*argv, **container),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
            preexec_fn=hear_signals,  # noqa: PLW1509 - no thread of ours holds a lock
        )


def everyone(test: Callable[..., None]) -> Callable[..., None]:
    """A test for all worlds. The others leave out those in ``SOME``."""
    test.__dict__["everyone"] = True
    return test


def only(*runtimes: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test of what these runtimes have and the others have not; docs/how-to/engines.md says so."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        test.__dict__["only"] = runtimes
        return test

    return mark


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "shared" in metafunc.fixturenames:
        marks = metafunc.function.__dict__
        worlds = [
            world
            for world in OURS
            if ("everyone" in marks or world not in SOME) and world[0] in marks.get("only", ("sandbox", *ENGINES))
        ]
        metafunc.parametrize("shared", worlds, indirect=True, scope="module", ids=map("-".join, worlds))


ENGINES = ("docker", "podman")


def person(kind: str, request: pytest.FixtureRequest) -> Person:
    """The user of this kind."""
    us = ourselves()
    if kind == us.kind:
        return us
    if kind == "single":
        return single()
    user = request.getfixturevalue("plain_user")
    return Person("subids", user.uid, user.gid, user.prefix)


def environment(runtime: str, who: Person, root: Path, request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The words that lead a program to the engine."""
    if runtime == "sandbox":
        return ()
    find = request.getfixturevalue("engine")
    found = find("podman_rootless" if (runtime, who.kind) == ("podman", "subids") else runtime)
    env = dict(found.env)
    if runtime == "docker":
        (root / "docker-config").mkdir()
        env["DOCKER_CONFIG"] = str(root / "docker-config")
        socket_path = Path(env["DOCKER_HOST"].removeprefix("unix://"))
        socket_path.chmod(0o666)  # as for a member of its group
        for folder in socket_path.parents:
            if folder.stat().st_mode & 0o001 == 0:
                folder.chmod(folder.stat().st_mode | 0o011)
    return ("env", *(f"{name}={value}" for name, value in env.items()))


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest, need: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Person, tuple[str, ...], Path]:
    need("bwrap", "unshare", "setpriv", "busybox")
    runtime, kind = request.param
    who = person(kind, request)
    root = tmp_path_factory.mktemp("store")
    store = root / "store"
    add_busybox(Store(store))
    words = environment(runtime, who, root, request)
    who.own(root)
    return runtime, who, (*words, *who.python()), store


@pytest.fixture
def world(shared: tuple[str, Person, tuple[str, ...], Path], tmp_path: Path) -> World:
    runtime, who, python, store = shared
    folder = tmp_path / "ours"
    folder.mkdir()
    who.own(tmp_path)
    return World(runtime, who, python, store, folder)


# ── argv ───────────────────────────────────────────────────────────────────────────────────────────────────────────


AWKWARD = (
    *(
        "",
        " ",
        "two words",
        "line\nbreak",
        "tab\t",
        "trailing\n",
        "'",
        '"',
        "\\",
        "$HOME",
        "`id`",
        "$(id)",
        "*",
        "?",
        "~",
    ),
    *(
        "-",
        "--",
        "-e",
        "--bind",
        "--help",
        "=",
        "a=b",
        "a;b",
        "a&b",
        "a|b",
        "<",
        ">",
        "#",
        "!",
        "%s",
        "%d\n",
        "{}",
        "[1, 2]",
    ),
    *("naïve", "日本語", "\u202e", "🦭", "\x01\x7f", "x" * 5000),
)


@everyone
def test_argv_reaches_the_program_byte_for_byte(world: World) -> None:
    shown = world.run("sh", "-c", 'for word; do printf "%s\\0" "$word"; done', "name", *AWKWARD)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split(b"\0")[:-1] == [word.encode() for word in AWKWARD]


def test_argv_that_is_not_text_passes(world: World) -> None:
    words = [bytes([byte]).decode(errors="surrogateescape") for byte in range(128, 256)]
    description = world.folder.parent / "container.json"
    script = 'for word; do printf "%s\\0" "$word"; done'
    command = world.words("sh", "-c", script, "name", *words)
    assert json.loads(description.read_text())["argv"][4:] == words
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if world.runtime in ENGINES:  # whose interface is JSON: better refused than changed
        assert done.returncode == 2
        assert f"is not UTF-8, which is all that {world.runtime} hands on" in done.stderr.decode()
        return
    assert done.stdout.split(b"\0")[:-1] == [bytes([byte]) for byte in range(128, 256)]


def test_a_relative_program_starts_at_the_workdir(world: World) -> None:
    (world.folder / "mine").write_text("#!/bin/sh\necho mine $#\n")
    (world.folder / "mine").chmod(0o755)
    assert world.out("./mine", "a", "b", workdir="/w", binds=[[str(world.folder), "/w"]]) == "mine 2\n"


# ── exit codes ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [0, 1, 125, 126, 127, 255])
def test_the_exit_code_comes_back(world: World, code: int) -> None:
    done = world.run("sh", "-c", f"exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


@everyone
@pytest.mark.parametrize("name", ["KILL", "SEGV"])
def test_a_program_that_a_signal_ends_gives_128_more(world: World, name: str) -> None:
    done = world.run("sh", "-c", f"kill -{name} $$")
    assert done.returncode == 128 + signal.Signals[f"SIG{name}"]


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("no-such-program", 127, "no-such-program: command not found in the image"),
        ("/no/such/path", 127, "/no/such/path: command not found in the image"),
        ("", 127, "command not found"),
        ("/etc/plain", 126, "/etc/plain: not executable"),
        ("/etc", 126, "is a directory"),
        ("broken", 127, "/no/such/interpreter is not in the image"),
    ],
)
def test_a_program_that_is_not_there_has_a_shells_exit_code(world: World, program: str, code: int, said: str) -> None:
    done = world.run(program, "word")
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


@everyone
def test_the_engines_failure_is_125_and_said(world: World) -> None:
    done = world.run("true", binds=[["/no/such/source", "/mnt"]])
    assert done.returncode == 125
    assert "cannot bind /no/such/source to /mnt" in done.stderr.decode()
    assert "never started" in done.stderr.decode()


@everyone
def test_what_a_program_left_behind_ends_with_it(world: World) -> None:
    mark = f"7{time.time_ns() % 10**6}"
    begun = time.monotonic()
    assert world.run("sh", "-c", f"sleep {mark} & setsid sleep {mark} & exit 5").returncode == 5
    assert time.monotonic() - begun < 30
    assert subprocess.run(["pgrep", "-f", f"sleep {mark}"], capture_output=True, check=False).stdout == b""


# ── streams ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stdin_reaches_the_program_untouched(world: World) -> None:
    sent = bytes(range(256)) * 4096
    assert world.run("cat", stdin=sent).stdout == sent


def test_stdout_and_stderr_stay_apart(world: World) -> None:
    done = world.run("sh", "-c", r'printf "a\r\n\0b"; printf "c\033[0m" >&2')
    assert (done.stdout, done.stderr) == (b"a\r\n\0b", b"c\033[0m")


def test_a_closed_reader_ends_the_program(world: World) -> None:
    child = world.start("yes")
    assert child.stdout
    assert child.stdout.read(4) == b"y\ny\n"
    child.stdout.close()
    # Podman's client that meets the closed pipe may end the container itself, with a SIGTERM.
    known = {signal.SIGPIPE, signal.SIGTERM} if world.runtime == "podman" else {signal.SIGPIPE}
    assert child.wait(30) - 128 in known
    child.communicate()


def test_only_the_three_streams_are_open(world: World) -> None:
    listed = world.out("sh", "-c", "ls /proc/$$/fd; true")
    extra = {int(word) for word in listed.split()} - {0, 1, 2}
    assert extra <= {7, 10}, "7: the gate of a real root's user namespace; 10: the shell's own"


# ── environment ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_environment_is_the_containers_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_HOST", "no")
    awkward = {
        "NEWLINE": "a\nb\n",
        "QUOTES": "'\"`$(id)",
        "EMPTY": "",
        "BYTES": "é🦭",
        "EQUALS": "a=b=c",
        "LONG": "x" * 50000,
    }
    listed = world.run("sh", "-c", "cat /proc/self/environ", env=awkward).stdout
    found = dict(entry.split(b"=", 1) for entry in listed.split(b"\0") if entry)
    assert {name: found.pop(name.encode()).decode() for name in awkward} == awkward
    added = {b"HOSTNAME", b"FROM_IMAGE", b"container", b"TERM"} if world.runtime in ENGINES else set()
    assert set(found) <= {b"PATH", b"HOME", b"USER", b"PWD", b"SHLVL", b"OLDPWD", b"_"} | added


def test_names_that_no_shell_knows_pass(world: World) -> None:
    listed = world.run("cat", "/proc/self/environ", env={"A.B-C": "1", "ÜMLAUT": "2"}).stdout.split(b"\0")
    assert {b"A.B-C=1", "ÜMLAUT=2".encode()} <= set(listed)


@everyone
def test_a_variable_is_handed_on_by_name_and_seen_by_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "s3cr3t-$`\"'\n-value"
    monkeypatch.setenv("THE_KEY", secret)
    child = world.start(
        "sh", "-c", 'printf %s "$THE_KEY"; read line', env_pass=["THE_KEY", "NOT_SET"], env={"NOT_HERE": "x"}
    )
    assert child.stdout
    shown = b""
    while len(shown) < len(secret):
        shown += os.read(child.stdout.fileno(), 100)
    assert shown.decode() == secret
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert b"s3cr3t" not in path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
    child.communicate(b"\n", 30)
    assert child.returncode == 0


# ── users and files ────────────────────────────────────────────────────────────────────────────────────────────────


@everyone
def test_files_in_a_bind_belong_to_the_caller(world: World) -> None:
    world.out("sh", "-c", "echo hi >/w/new; mkdir /w/sub; touch /w/sub/x", binds=[[str(world.folder), "/w"]])
    for path in (world.folder / "new", world.folder / "sub", world.folder / "sub/x"):
        assert (path.stat().st_uid, path.stat().st_gid) == (world.person.uid, world.person.gid)
    assert (world.folder / "new").read_text() == "hi\n"


@everyone
def test_the_caller_is_known_by_number_and_name(world: World) -> None:
    said = world.out("sh", "-c", "id -u; id -g; id -un; whoami; cd; pwd; echo ok >file; ls -ld /root; echo $USER")
    uid, gid, name, who, home, _, user = said.split("\n")[:7]
    assert (int(uid), int(gid)) == (world.person.uid, world.person.gid)
    assert name == who == user
    assert home == ("/root" if world.person.uid == 0 else f"/home/{name}")


def test_the_images_users_are_still_there(world: World) -> None:
    found = world.out("sh", "-c", "grep -c . /etc/passwd; grep ^www-data: /etc/passwd; grep ^ubuntu: /etc/passwd")
    assert "www-data:x:33" in found
    assert "ubuntu:x:1000" in found


@everyone
def test_root_inside_still_writes_the_callers_files(world: World) -> None:
    assert world.out("sh", "-c", "id -u; id -un; touch /w/by-root", user="root", binds=[[str(world.folder), "/w"]]) == (
        "0\nroot\n"
    )
    owner = 0 if world.runtime == "docker" else world.person.uid  # a daemon's root is root; see --fix-perms
    assert (world.folder / "by-root").stat().st_uid == owner


@everyone
@pytest.mark.parametrize("who", ["1000:1000", "4321:99", "70000:70000", "2147483647:2147483646"])
def test_a_chosen_uid(world: World, who: str) -> None:
    """Root becomes it in truth; for a plain user it is a name inside, and files stay theirs."""
    uid, gid = map(int, who.split(":"))
    if world.real:
        os.chown(world.folder, uid, gid)
    said = world.out("sh", "-c", "id -u; id -g; touch /w/x; echo hi >~/f && ls -ld /etc | cut -c1-10", user=who,
                     binds=[[str(world.folder), "/w"]]).split()  # fmt: skip
    assert said[2] == "drwxr-xr-x"
    made = (world.folder / "x").stat()
    assert said[:2] == [str(uid), str(gid)]
    owner = (uid, gid) if world.real else (world.person.uid, world.person.gid)
    assert (made.st_uid, made.st_gid) == owner


@everyone
def test_a_uid_that_engines_cannot_read(world: World) -> None:
    """They read 31 bits. A real root's sandbox has it in truth; for a plain user another name inside will do."""
    who = "4000000000:4000000000"
    if world.person.kind == "root":
        os.chown(world.folder, 4000000000, 4000000000)
    done = world.run("sh", "-c", "id -u; touch /w/x", user=who, binds=[[str(world.folder), "/w"]])
    if world.runtime in ENGINES and world.real:
        assert done.returncode == 125
        assert f"{world.runtime} takes no uid above 2147483647" in done.stderr.decode()
        return
    root = world.person.kind == "root"
    assert done.stdout == (b"4000000000\n" if root else b"1000\n")
    assert (world.folder / "x").stat().st_uid == (4000000000 if root else world.person.uid)


def test_another_uid_sees_root_as_the_owner_of_the_image(world: World) -> None:
    if not world.real and world.runtime == "sandbox":
        pytest.skip("a plain user's image belongs to the plain user")
    assert world.out("stat", "-c", "%U", "/bin", user="1000:1000") == "root\n"
    done = world.run("sh", "-c", "echo x >/etc/passwd", user="1000:1000")
    assert done.returncode
    assert "Permission denied" in done.stderr.decode()


@everyone
def test_a_program_cannot_mount_or_see_the_host(world: World) -> None:
    done = world.run(
        "sh", "-c", "mount -t tmpfs t /mnt 2>/dev/null && echo mounted; ls /proc | grep -c '^[0-9]'", user="root"
    )
    assert "mounted" not in done.stdout.decode()
    assert int(done.stdout) < 10


# ── the image and what lies over it ────────────────────────────────────────────────────────────────────────────────


@everyone
def test_the_image_stays_as_it_was(world: World) -> None:
    world.out("sh", "-c", "rm /etc/plain && echo changed >/bin/tool && touch /new && mkdir -p /a/b", user=world.owner)
    assert world.out("sh", "-c", "cat /etc/plain; tool x; ls /new /a 2>/dev/null; true") == "not a program\ntool x\n"


@everyone
def test_nothing_is_left_behind(world: World) -> None:
    """Neither run folders nor scratch; a container that is left would be in the next test's ``ps``."""
    script = "mkdir /tmp/x && chmod 0 /tmp/x && touch /etc/y && rm -r /usr && mkdir /usr"
    world.out("sh", "-c", script, user=world.owner)
    world.run("sh", "-c", "kill -9 $$")
    world.run("true", binds=[["/no/such/source", "/mnt"]])
    assert run_folders(world.store) == []
    assert list((world.store / "tmp").iterdir()) == []


def test_a_bind_where_the_image_has_a_symlink_lands_where_it_points(world: World) -> None:
    (world.folder / "here").touch()
    assert (
        world.out("sh", "-c", "ls /run/x; ls /var/run/x", binds=[[str(world.folder), "/var/run/x"]]) == "here\nhere\n"
    )
    assert not Path("/run/x").exists(), "the host's /run is another"


@everyone
def test_a_read_only_bind_and_files(world: World) -> None:
    one = world.folder / "one file"
    one.write_text("text")
    binds = [[str(one), "/etc/one", True], [str(world.folder), "/w", True]]
    done = world.run("sh", "-c", "cat /etc/one; touch /w/x || echo no; echo x >/etc/one || echo no", binds=binds)
    assert done.stdout == b"textno\nno\n"


@everyone
@only("sandbox")
def test_a_bind_over_what_the_kernel_gives(world: World) -> None:
    (world.folder / "file").write_text("text\n")
    binds = [
        [str(world.folder), "/dev/shm"],
        [str(world.folder), "/dev/inputs/own", True],
        [str(world.folder / "file"), "/proc/cmdline"],
        ["/dev/null", "/dev/nothing"],
    ]
    script = (
        "cat /dev/shm/file /dev/inputs/own/file /proc/cmdline; touch /dev/inputs/own/x || echo no; echo >/dev/nothing"
    )
    assert world.out("sh", "-c", script, binds=binds) == "text\ntext\ntext\nno\n"


@only("docker", "podman")
def test_a_bind_over_devices(world: World) -> None:
    (world.folder / "file").write_text("text\n")
    binds = [[str(world.folder), "/dev/shm"], [str(world.folder), "/dev/inputs/own", True]]
    script = "cat /dev/shm/file /dev/inputs/own/file; touch /dev/inputs/own/x || echo no"
    assert world.out("sh", "-c", script, binds=binds) == "text\ntext\nno\n"


def test_a_bind_inside_a_bind_whatever_their_order(world: World, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "deep").touch()
    world.person.own(tmp_path)
    binds = [[str(inner), "/w/sub"], [str(world.folder), "/w"]]
    assert world.out("ls", "/w/sub", binds=binds) == "deep\n"


def test_names_with_everything_in_them(world: World) -> None:
    odd = world.folder / "a b'\"\\$x\n,:é"
    odd.mkdir()
    world.person.own(odd)
    target = "/w/t'\" $y\n,:é"
    assert world.out("sh", "-c", 'pwd; touch "$PWD/f"', workdir=target, binds=[[str(odd), target]]) == target + "\n"
    assert (odd / "f").exists()


def test_a_workdir_that_the_image_lacks_is_made(world: World) -> None:
    assert world.out("sh", "-c", "pwd; touch x && ls", workdir="/made/for/us") == "/made/for/us\nx\n"


def test_shared_memory_has_its_size(world: World) -> None:
    said = world.out("sh", "-c", "df -k /dev/shm | tail -1; touch /dev/shm/x; ls -ld /dev/shm", shm=3 * 1024**2)
    assert said.split()[1] == "3072"
    assert "drwxrwxrwt" in said


def test_devices_and_kernel_folders_are_there(world: World) -> None:
    script = "echo x >/dev/null; head -c4 /dev/zero | wc -c; head -c4 /dev/urandom | wc -c; test -e /proc/self/exe"
    assert world.out("sh", "-c", f"{script} && ls /sys/class").startswith("4\n4\n")


def test_names_are_resolved_as_on_the_host(world: World) -> None:
    assert world.out("cat", "/etc/hosts") == Path("/etc/hosts").read_text()
    said = world.out("cat", "/etc/resolv.conf").splitlines()
    assert [line for line in said if line and not line.startswith("#")] == [
        line for line in Path("/etc/resolv.conf").read_text().splitlines() if line and not line.startswith("#")
    ]


@everyone
def test_the_network_is_the_hosts_or_none(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with server.accept()[0] as peer:
                peer.sendall(b"hello\n")

        threading.Thread(target=greet, daemon=True).start()
        port = str(server.getsockname()[1])
        assert world.run("nc", "127.0.0.1", port, network=False).returncode != 0
        assert world.out("nc", "127.0.0.1", port) == "hello\n"


def test_a_read_only_container_keeps_only_tmp(world: World) -> None:
    script = "touch /x || echo no; touch /etc/y || echo no; touch /tmp/z && echo yes; touch /w/f && echo yes"
    done = world.run("sh", "-c", script, read_only=True, binds=[[str(world.folder), "/w"]])
    assert done.stdout == b"no\nno\nyes\nyes\n"


@only("sandbox", "podman")  # Docker's interface has no word for it
def test_the_umask_is_the_callers(world: World) -> None:
    words = world.words("sh", "-c", "umask; touch /w/f", binds=[[str(world.folder), "/w"]])
    done = subprocess.run(["sh", "-c", 'umask 027; exec "$@"', "sh", *words], capture_output=True, check=True)
    assert done.stdout == b"0027\n"
    assert (world.folder / "f").stat().st_mode & 0o777 == 0o640


# ── signals ────────────────────────────────────────────────────────────────────────────────────────────────────────


COUNT = "i=0; while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done; exit $((40+n))"  # n: signals that came


def ready_line(child: "subprocess.Popen[bytes]", wanted: bytes = b"ready\n") -> None:
    assert child.stdout
    line = child.stdout.readline().replace(b"\r\n", b"\n")  # an engine's terminal adds what ours does not
    assert line == wanted, (line, child.stderr.read() if child.stderr and not line else b"")


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"])
def test_a_signal_reaches_the_program_once(world: World, name: str) -> None:
    child = world.start("sh", "-c", f'trap "n=\\$((n+1))" {name}; echo ready; {COUNT}')
    ready_line(child)
    os.kill(child.pid, signal.Signals[f"SIG{name}"])  # setpriv and env became the driver: it is one process
    child.communicate(timeout=30)
    assert child.returncode == 41


def test_a_stop_of_us_sends_nothing_to_the_program(world: World) -> None:
    script = (
        'trap "n=\\$((n+1)); echo ready" USR1; echo ready; while [ ! -e /w/end ]; do sleep 0.05; done; exit $((40+n))'
    )
    child = world.start("sh", "-c", script, binds=[[str(world.folder), "/w"]])
    ready_line(child)
    os.kill(child.pid, signal.SIGUSR1)
    ready_line(child)
    for _ in range(4):
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(0.6)
        os.kill(child.pid, signal.SIGCONT)
        time.sleep(0.1)
    (world.folder / "end").touch()
    assert child.communicate(timeout=30)[1] == b""
    assert child.returncode == 41


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_a_program_that_does_not_care_is_ended(world: World, name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    child = world.start("sh", "-c", "echo ready; exec sleep 60")
    ready_line(child)
    os.kill(child.pid, number)
    child.communicate(timeout=30)
    assert child.returncode == 128 + number


def test_a_signal_before_the_program_is_there_is_not_lost(world: World) -> None:
    child = world.start("sh", "-c", "exec sleep 30")
    deadline = time.monotonic() + 30
    while not Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGTERM)
    child.communicate(timeout=30)
    assert child.returncode in (143, -signal.SIGTERM)


@everyone
def test_a_keyboard_interrupt_can_be_handled_to_its_end(world: World, need: Callable[..., None]) -> None:
    need("/usr/bin/python3")
    program = (
        "import time\ntry:\n print('ready', flush=True)\n time.sleep(60)\n"
        "except KeyboardInterrupt:\n time.sleep(0.5); print('saved', flush=True); raise SystemExit(17)"
    )
    child = world.start("/usr/bin/python3", "-c", program, binds=[*HOST])
    ready_line(child)
    os.kill(child.pid, signal.SIGINT)
    out, _ = child.communicate(timeout=30)
    assert (child.returncode, out) == (17, b"saved\n")


# ── terminals ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Terminal:
    """A program that has a pseudo-terminal as its controlling one, as in a terminal window."""

    def __init__(self, words: list[str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            hear_signals()
            os.execvp(words[0], words)
        self.seen = b""

    def until(self, wanted: bytes, seconds: float = 30) -> bytes:
        """Read until some bytes have come."""
        deadline = time.monotonic() + seconds
        while wanted not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    break
        assert wanted in self.seen, self.seen
        return self.seen

    def type(self, text: bytes) -> None:
        """Press keys."""
        os.write(self.fd, text)

    def code(self, seconds: float = 30) -> int:
        """The exit code, once it has ended."""
        deadline = time.monotonic() + seconds
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    pass
            assert time.monotonic() < deadline, self.seen


@pytest.fixture
def terminal() -> Iterator[Callable[[list[str]], Terminal]]:
    opened: list[Terminal] = []

    def make(words: list[str]) -> Terminal:
        opened.append(Terminal(words))
        return opened[-1]

    yield make
    for one in opened:
        os.close(one.fd)


def test_a_terminal_is_handed_through(world: World, terminal: Callable[[list[str]], Terminal]) -> None:
    window = terminal(
        world.words("sh", "-c", "test -t 0 && test -t 1 && test -t 2 && echo is-tty; read l; echo got $l; exit 6")
    )
    window.until(b"is-tty")
    window.type(b"hello\n")
    window.until(b"got hello")
    assert window.code() == 6


@everyone
def test_ctrl_c_reaches_the_program_once(world: World, terminal: Callable[[list[str]], Terminal]) -> None:
    script = f'trap "n=\\$((n+1)); echo int-\\$n" INT; echo ready; {COUNT}'
    window = terminal(world.words("sh", "-c", script))
    window.until(b"ready")
    time.sleep(0.1)
    window.type(b"\x03")
    window.until(b"int-1")
    assert window.code() == 41


def test_ctrl_c_and_a_handler_that_takes_its_time(
    world: World, terminal: Callable[[list[str]], Terminal], need: Callable[..., None]
) -> None:
    need("/usr/bin/python3")
    program = (
        "import time,subprocess\nsubprocess.Popen(['setsid','sleep','50'])\n"
        "try:\n print('ready', flush=True)\n time.sleep(60)\n"
        "except KeyboardInterrupt:\n time.sleep(1); print('saved', flush=True); raise SystemExit(17)"
    )
    window = terminal(world.words("/usr/bin/python3", "-c", program, binds=[*HOST], env={"PATH": "/usr/bin:/bin"}))
    window.until(b"ready")
    window.type(b"\x03")
    window.until(b"saved")
    assert window.code(15) == 17


def test_ctrl_c_without_a_handler_ends_it(world: World, terminal: Callable[[list[str]], Terminal]) -> None:
    window = terminal(world.words("sh", "-c", "echo ready; exec sleep 60"))
    window.until(b"ready")
    window.type(b"\x03")
    assert window.code() == 130


def test_a_terminal_where_there_is_none(world: World) -> None:
    # An engine's client gives a terminal its size only after the program began.
    script = "test -t 0 && test -t 1 && echo is-tty; until stty size; do sleep 0.1; done; read l; echo got $l; exit 6"
    done = world.run("sh", "-c", script, stdin=b"hello\n", terminal=True)
    assert done.returncode == 6
    lines = done.stdout.replace(b"\r\n", b"\n").split(b"\n")  # the terminal's echo of hello may come between
    assert {b"is-tty", b"24 80", b"got hello"} <= set(lines)


def test_the_end_of_input_reaches_a_made_terminal(world: World) -> None:
    done = world.run("sh", "-c", "cat >/dev/null; echo end", stdin=b"", terminal=True)
    assert done.returncode == 0
    assert b"end" in done.stdout


def test_a_signal_with_a_made_terminal(world: World) -> None:
    child = world.start("sh", "-c", "echo ready; exec sleep 60", terminal=True)
    ready_line(child)
    os.kill(child.pid, signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode == 130


def test_no_terminal_where_there_is_one(world: World, terminal: Callable[[list[str]], Terminal]) -> None:
    script = "test -t 0 || test -t 1 || test -t 2 || echo no-tty; read l; echo got $l; echo err >&2; exit 6"
    window = terminal(world.words("sh", "-c", script, terminal=False))
    window.until(b"no-tty")
    window.type(b"hello\n")
    window.until(b"got hello")
    assert window.code() == 6
    window.until(b"err")


def test_keys_and_sizes_reach_a_made_terminal(world: World, terminal: Callable[[list[str]], Terminal]) -> None:
    """Our input is a terminal, our output a pipe: what is typed is the program's, and is shown once."""
    # A shell that is about to read answers a signal only after a line; one that waits does at once.
    script = "stty size; trap 'seen=$(stty size); echo $seen' WINCH; sleep 60 & echo ready"
    script += (
        '; until [ "$seen" = "40 100" ]; do wait; done; until read l; do :; done; echo got $l; while :; do wait; done'
    )
    words = shlex.join(world.words("sh", "-c", f"trap 'exit 5' INT; {script}", terminal=True))
    window = terminal(["bash", "-c", f"{words} | cat; echo code-${{PIPESTATUS[0]}}; stty -a | grep -o ' icanon'"])
    assert b"24 80" in window.until(b"ready"), "a terminal that does not know its size"
    for _ in range(8 if world.runtime in ENGINES else 1):  # an engine's client listens only some time after its start
        for rows in (39, 40):
            fcntl.ioctl(window.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))
            time.sleep(0.2)  # of two sizes at once, podman's client was seen to hand on only the first
        with suppress(AssertionError):
            window.until(b"40 100", 4)
            break
    window.until(b"40 100")
    window.type(b"one\r")
    window.until(b"got one")
    assert window.seen.count(b"one") == 2, "once as echo, once by the program"
    time.sleep(0.5)
    window.type(b"\x03")
    window.until(b"icanon")
    assert b"code-5" in window.seen, "the program's own, whatever became of cat"
    assert window.code() == 0


def test_a_shell_controls_its_jobs(world: World, terminal: Callable[[list[str]], Terminal]) -> None:
    window = terminal(world.words("sh", "-i"))
    window.until(b"/ ")  # the prompt
    window.type(b"sleep 50\n")
    time.sleep(0.6)
    window.type(b"\x03")
    window.type(b"echo a''live\n")
    window.until(b"alive")
    window.type(b"exit 9\n")
    assert window.code() == 9


@only("sandbox")  # an engine's client hands ^Z to the program's own terminal, where nothing could go on
def test_ctrl_z_stops_it_and_fg_goes_on(world: World, terminal: Callable[[list[str]], Terminal]) -> None:
    """For longer than any timeout of ours, so that none is noticed."""
    script = 'trap "echo int; exit 3" INT; for i in 1 2 3 4; do echo "at-$i"; sleep 0.3; done; read line; exit 8'
    window = terminal(["bash", "--norc", "--noediting", "-i"])
    window.type(shlex.join(world.words("sh", "-c", script)).encode() + b"; echo code-$?\n")
    window.until(b"at-1")
    window.type(b"\x1a")
    window.until(b"Stopped")
    seen = len(window.seen)
    time.sleep(1.5)
    window.type(b"fg; echo code-$?\n")
    window.until(b"at-4")
    assert b"at-4" not in window.seen[:seen]
    window.type(b"\x03")
    window.until(b"int\r")
    window.until(b"code-3")
    window.type(b"exit 0\n")
    assert window.code() == 0


# ── entering ───────────────────────────────────────────────────────────────────────────────────────────────────────


def first_process(of: int) -> int:
    """The sandbox's first process, looked for under the driver's."""
    waiting = [of]
    while waiting:
        pid = waiting.pop()
        if len(inner(pid)) > len(inner(of)):
            return pid
        waiting += children(pid)
    raise AssertionError("no sandbox under the driver")


@everyone
@only("docker", "podman")
@pytest.mark.parametrize("who", ["host", "root", "4321:99"])
def test_another_program_joins_an_engines_container(world: World, who: str, request: pytest.FixtureRequest) -> None:
    if world.real and who == "4321:99":
        os.chown(world.folder, 4321, 99)
    name = f"test-{os.getpid()}-{time.time_ns()}"
    words = world.words(
        *("sh", "-c", "(id -u; id -g) >/w/first; touch /tmp/mine; echo ready; exec sleep 60"),
        user=who,
        env={"A": "x\ny"},
        binds=[[str(world.folder), "/w"]],
        workdir="/w",
        name=name,
    )
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ready_line(child)
    try:
        script = '(id -u; id -g) >second; cmp first second && echo "$A$B"; ls /tmp; touch by; exit 9'
        done = subprocess.run([*words, "sh", "-c", script], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr, done.stdout.split()) == (9, "", ["x", "yy", "mine"])
        assert (world.folder / "by").stat().st_uid == (world.folder / "first").stat().st_uid
        for others, code in ((["no-such"], 127), (["/etc/plain"], 126), (["sh", "-c", "kill -9 $$"], 137)):
            ended = subprocess.run([*words, *others], capture_output=True, timeout=30, check=False)
            assert ended.returncode == code
    finally:
        child.terminate()
        child.communicate(timeout=30)


@everyone
@only("sandbox")
@pytest.mark.parametrize("who", ["host", "root", "4321:99"])
def test_another_program_joins_a_container_that_runs(world: World, who: str) -> None:
    if world.person.kind == "root" and who == "4321:99":
        os.chown(world.folder, 4321, 99)
    script = "id >/w/first; touch /tmp/mine; echo ready; exec sleep 60"
    child = world.start(
        *("sh", "-c", script),
        user=who,
        env={"A": "x\ny"},
        binds=[[str(world.folder), "/w"]],
        workdir="/w",
        network=False,
    )
    ready_line(child)
    try:
        enter = [*world.python, "-m", "wardian.runs.enter", str(first_process(child.pid)), "/w"]
        script = 'id >second; cmp first second && echo "$A"; ls /tmp; ls /sys/class/net; touch by; exit 9'
        done = subprocess.run([*enter, "sh", "-c", script], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (9, "")
        assert done.stdout.split()[:3] == ["x", "y", "mine"]
        assert (world.folder / "by").stat().st_uid == (world.folder / "first").stat().st_uid
        for words, code in ((["no-such"], 127), (["/etc/plain"], 126), (["sh", "-c", "kill -9 $$"], 137)):
            assert subprocess.run([*enter, *words], capture_output=True, timeout=30, check=False).returncode == code
    finally:
        child.terminate()
        child.communicate(timeout=30)


# ── many layers ────────────────────────────────────────────────────────────────────────────────────────────────────


@only("sandbox")  # Docker takes 127 layers, and what is tried is the length of a mount option
def test_an_image_of_a_hundred_and_twenty_layers(world: World, tmp_path: Path) -> None:
    if world.person.prefix:
        pytest.skip("the length of the mount option does not depend on the user")
    store = Store(tmp_path / "many")
    thin = [layer({f"layer-{at}": b"", "top": str(at).encode()}) for at in range(119)]
    image = add_image(store, "demo/train:latest", [layer(files(), modes=MODES), *thin], config=defaults({}))
    for at, one in enumerate(unpacked.layers_of(store, image.digest)[1:]):  # by hand: it is not unpacking that is tried
        tree = unpacked.folder(store, namespace(LocalHost()), one.diff_id)
        tree.mkdir()
        (tree / f"layer-{at}").touch()
        (tree / "top").write_text(str(at))
        unpacked.marker(tree).touch()
    world.store = store.root
    assert world.out("sh", "-c", "cat /top; ls / | grep -c layer-") == "118119\n"

"""`run` steps in the sandbox, as root and as a plain user: what they see, and what their layers hold."""

import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.engines import Engine
from tests.integration.builds import Place, on_busybox, write
from tests.people import Person, hear_signals, ourselves

Need = Callable[..., None]

# What a line does, and the members of its layer that tell of it: name → (kind, mode, uid, link).
STEPS: dict[str, tuple[str, dict[str, tuple[str, int, int, str]]]] = {
    "a new file": ("umask; echo hello >/etc/new", {"etc/new": ("0", 0o644, 0, ""), "srv/here": ("5", 0o755, 0, "")}),
    "its removal": ("rm /etc/new", {"etc/.wh.new": ("0", 0, 0, "")}),
    "a file and its removal in one step": ("echo x >/etc/x; rm /etc/x", {}),
    "a folder with a file": (
        "mkdir -p /data/a && echo 1 >/data/a/b",
        {"data": ("5", 0o755, 0, ""), "data/a/b": ("0", 0o644, 0, "")},
    ),
    "a folder replaced": (
        "rm -r /data/a && mkdir /data/a && echo 2 >/data/a/c",
        {"data/a": ("5", 0o755, 0, ""), "data/a/.wh..wh..opq": ("0", 0, 0, ""), "data/a/c": ("0", 0o644, 0, "")},
    ),
    "a folder removed": ("rm -r /data/a", {"data/.wh.a": ("0", 0, 0, "")}),
    "a file becomes a folder": (
        "echo 1 >/data/f && rm /data/f && rm /etc/plain && mkdir /etc/plain",
        {"etc/plain": ("5", 0o755, 0, "")},
    ),
    "a folder becomes a file": ("rmdir /etc/plain && echo 1 >/etc/plain", {"etc/plain": ("0", 0o644, 0, "")}),
    "hard links": (
        "echo 1 >/data/one && ln /data/one /data/two",
        {"data/one": ("0", 0o644, 0, ""), "data/two": ("1", 0o644, 0, "data/one")},
    ),
    "a symbolic link": ("ln -s ../etc /data/link", {"data/link": ("2", 0o777, 0, "../etc")}),
    "a mode": ("chmod 4711 /data/one", {"data/one": ("0", 0o4711, 0, "")}),
    "an owner": ("chown 33:33 /data/two", {"data/two": ("0", 0o644, 33, "")}),
    "a renamed folder": (
        "mkdir /data/old && echo 1 >/data/old/x; mv /data/old /data/new",
        {"data/new": ("5", 0o755, 0, ""), "data/new/x": ("0", 0o644, 0, "")},
    ),
    "a folder of a lower layer renamed": (
        "mv /data/new /data/newer",
        {"data/.wh.new": ("0", 0, 0, ""), "data/newer/x": ("0", 0o644, 0, "")},
    ),
    "a pipe": ("mkfifo /data/pipe", {"data/pipe": ("6", 0o644, 0, "")}),
    "an odd name": ('echo 1 >"/data/a b\'\\"ü"', {"data/a b'\"ü": ("0", 0o644, 0, "")}),
    "the workdir": ("pwd >/where", {"where": ("0", 0o644, 0, "")}),
    "temporary files": ("echo 1 >/tmp/x; echo 1 >/var/run/x; echo 1 >/dev/shm/x", {}),
}
NUMBERS = {name: at + 1 for at, name in enumerate(STEPS)}  # of the layer; the base is one layer


@pytest.fixture(scope="session", params=["root", "subids", "docker", "podman", "podman_rootless"])
def built(request: pytest.FixtureRequest, session_folder: Path, need: Need, engine: Callable[[str], Engine]) -> Place:
    """All steps as one image, built once as each kind of user, and by each engine."""
    need("bwrap", "unshare", "busybox")
    person, environ = ourselves(), {}
    if request.param not in ("root", "subids"):
        environ = {**engine(request.param).env, "WARDIAN_BUILD__ENGINE": request.param.partition("_")[0]}
    if request.param in ("subids", "podman_rootless"):
        user = request.getfixturevalue("plain_user")
        person = Person("subids", user.uid, user.gid, user.prefix)
    elif os.getuid():
        pytest.skip("we are not root")
    place = Place(session_folder / f"steps-{request.param}", person, environ)
    with FileLock(f"{place.folder}.lock"):
        if not (place.folder / "answer.json").exists():
            shutil.rmtree(place.folder, ignore_errors=True)
            on_busybox(place, [line for line, _ in STEPS.values()], 'workdir = "/srv/here"')
            answer = place.build()
            (place.folder / "answer.json").write_text(json.dumps(answer))
    return place


def digest(place: Place) -> str:
    found = json.loads((place.folder / "answer.json").read_text())["train"]["digest"]
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("name", STEPS)
def test_a_layer_holds_what_its_step_changed(built: Place, name: str) -> None:
    members = built.members(digest(built), NUMBERS[name])
    told = {
        path: (member.type.decode(), member.mode, member.uid, member.linkname)
        for path, member in members.items()
        if not member.isdir() or path in STEPS[name][1]
    }
    assert told == STEPS[name][1]


def test_every_member_has_the_fixed_time(built: Place) -> None:
    for number in NUMBERS.values():
        assert {member.mtime for member in built.members(digest(built), number).values()} <= {1_577_836_800}


def test_a_folder_above_a_change_keeps_its_attributes(built: Place) -> None:
    assert built.members(digest(built), NUMBERS["a new file"])["etc"].mode == 0o755


def test_root_and_a_plain_user_make_the_same_image(session_folder: Path, built: Place) -> None:
    answers = [path.read_text() for path in session_folder.glob("steps-*/answer.json")]
    assert len({json.loads(answer)["train"]["digest"] for answer in answers}) == 1


def test_another_program_sees_the_same_tree(built: Place, need: Need, tmp_path: Path) -> None:
    """Umoci applies whiteouts, opaque folders and links its own way."""
    need("umoci")
    Place(built.folder).run("export", "train", "--format", "oci", "--output", str(tmp_path / "layout"))
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    name = index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
    rootless = ["--rootless"] if os.getuid() else []
    source = f"{tmp_path}/layout:{name}"
    command = ["umoci", "unpack", *rootless, "--image", source, str(tmp_path / "bundle")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "bundle" / "rootfs"
    there = sorted(path.name for path in (root / "data").iterdir())
    assert there == sorted(["link", "newer", "one", "pipe", "two", "a b'\"ü"])
    assert not (root / "etc" / "new").exists()
    assert (root / "etc" / "plain").read_text() == "1\n"
    assert (root / "where").read_text() == "/srv/here\n"
    assert (root / "data" / "two").stat().st_uid == (os.getuid() or 33)


@pytest.fixture
def place(tmp_path: Path, need: Need) -> Place:
    """A place of this test's own."""
    need("bwrap", "unshare", "busybox")
    return Place(tmp_path)


def test_a_second_build_does_nothing_and_a_changed_line_is_one_layer(place: Place) -> None:
    on_busybox(place, ["echo 1 >/one", "echo 2 >/two"])
    first = place.build()["train"]
    assert place.build()["train"]["layers"] == {"new": [], "reused": 3}
    on_busybox(place, ["echo 1 >/one", "echo 3 >/two"])
    second = place.build()["train"]
    assert len(second["layers"]["new"]) == 1
    assert second["digest"] != first["digest"]


def test_a_step_that_changes_nothing_is_an_empty_layer(place: Place) -> None:
    on_busybox(place, ["mkdir /new", "true", "cat /etc/passwd >/dev/null"])
    found = place.build()["train"]["digest"]
    assert [list(place.members(found, at)) for at in (2, 3)] == [[], []]


def test_a_failing_step_is_told_whole(place: Place) -> None:
    on_busybox(place, ["echo 1 >/one", "echo before; echo the reason >&2; exit 7"])
    said = place.run("build", code=1).stderr
    assert "image train, run 2 (echo before; echo the reason >&2; exit 7): exited with 7" in said
    assert "the reason" in said
    assert place.store.resolve("demo/train:latest") is None
    assert list(place.store.scratch.iterdir()) == [], "nothing is kept of it"
    on_busybox(place, ["echo 1 >/one", "echo 2 >/two"])
    assert len(place.build()["train"]["layers"]["new"]) == 1, "what was made before it is kept"


def test_the_first_failing_word_of_a_line_ends_it(place: Place) -> None:
    on_busybox(place, ["no-such-program; echo after >/after"])
    assert "exited with 127" in place.run("build", code=1).stderr


def test_a_name_that_means_deletion_is_refused(place: Place) -> None:
    on_busybox(place, ["echo 1 >/etc/.wh.x"])
    assert "cannot have a name that starts with .wh." in place.run("build", code=1).stderr


def test_steps_see_the_image_and_not_this_machine(place: Place) -> None:
    extra = 'env = { A = "a b", PATH = "/mine:/bin" }'
    on_busybox(place, ["env | sort >/env; id -u >/id; ls -a / >/root-folder; cat /proc/1/comm >/first || true"], extra)
    found = Place(place.folder, place.person, {"SECRET_OF_THE_CALLER": "x"}).build()["train"]["digest"]
    assert {"env", "id", "root-folder"} <= place.members(found, 1).keys()
    seen = read(place, found, "env")
    assert "A=a b\n" in seen
    assert "FROM_IMAGE=yes\n" in seen
    assert "PATH=/mine:/bin\n" in seen
    assert "SECRET_OF_THE_CALLER" not in seen
    assert read(place, found, "id") == "0\n"


def read(place: Place, digest: str, name: str, at: int = 1) -> str:
    """A file of a layer."""
    with tarfile.open(place.store.path(place.store.manifest(digest).layers[at].digest)) as archive:
        file = archive.extractfile(name)
        assert file
        return file.read().decode()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A CA bundle of this test."""
    path = tmp_path / "ca bundle.crt"
    path.write_text("-----BEGIN CERTIFICATE-----\nthe bundle\n-----END CERTIFICATE-----\n")
    return path


def test_certificates_proxies_and_indexes_reach_a_step_and_not_the_image(
    place: Place, bundle: Path, tmp_path: Path
) -> None:
    links = tmp_path / "wheels"
    links.mkdir()
    (links / "thing-1.0-py3-none-any.whl").write_text("x")
    environ = {
        "SSL_CERT_FILE": str(bundle),
        "HTTPS_PROXY": "http://user:password@proxy.lab:3128",
        "PIP_FIND_LINKS": str(links),
        "PIP_INDEX_URL": "https://pypi.lab/simple",
    }
    line = 'test "$HTTPS_PROXY" && grep -q "the bundle" "$PIP_CERT" && ls "$PIP_FIND_LINKS" >/seen'
    reached = Place(place.folder, place.person, environ)
    on_busybox(reached, [f"{line} && test -s /etc/resolv.conf && echo $PIP_INDEX_URL >>/seen"])
    found = reached.build()["train"]["digest"]
    assert read(place, found, "seen") == "thing-1.0-py3-none-any.whl\nhttps://pypi.lab/simple\n"
    assert [name for name, member in place.members(found, 1).items() if not member.isdir()] == ["seen"]
    config = json.dumps(place.store.config(found)["config"])
    assert "proxy" not in config
    assert "CERT" not in config


def test_the_bundle_enters_the_image_when_it_is_asked_for(place: Place, bundle: Path) -> None:
    asked = Place(place.folder, place.person, {"SSL_CERT_FILE": str(bundle)})
    on_busybox(asked, ['grep -q "the bundle" /etc/ssl/certs/wardian-ca-bundle.crt'], "ca = true")
    found = asked.build()["train"]["digest"]
    assert "the bundle" in read(place, found, "etc/ssl/certs/wardian-ca-bundle.crt")
    env = place.store.config(found)["config"]["Env"]
    assert "SSL_CERT_FILE=/etc/ssl/certs/wardian-ca-bundle.crt" in env


def test_a_missing_program_is_named_with_its_package(place: Place, tmp_path: Path) -> None:
    on_busybox(place, ["true"])
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "id", "unshare", "setpriv", "cat", "git", "env"):
        found = shutil.which(program)
        if found:
            (folder / program).symlink_to(found)
    said = Place(place.folder, place.person, {"PATH": str(folder)}).run("build", code=1).stderr
    assert "bwrap is not on this machine" in said
    assert "apt-get install bubblewrap" in said


def test_a_user_with_a_single_id_is_told_what_to_do(place: Place, need: Need) -> None:
    if os.getuid():
        pytest.skip("only root can become another user")
    from tests.people import single

    on_busybox(place, ["true"])
    alone = Place(place.folder, single())
    write(alone, (place.project / "wardian.toml").read_text())
    said = alone.run("build", code=1).stderr
    assert "this user has no subordinate ids, which `apt` and `run` steps need" in said
    assert "type: wardian doctor" in said


def test_two_processes_build_one_store(place: Place) -> None:
    on_busybox(place, ["sleep 0.5; echo 1 >/one", "sleep 0.5; echo 2 >/two"])
    started = [
        subprocess.Popen(
            place.words("build", "--json"), cwd=place.project, env=place.env(), stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers: list[dict[str, Any]] = [json.loads(child.communicate(timeout=120)[0])["train"] for child in started]
    assert {child.returncode for child in started} == {0}
    assert len({answer["digest"] for answer in answers}) == 1
    assert sum(len(answer["layers"]["new"]) for answer in answers) == 2, "each layer was made once"


def test_an_interrupted_build_ends_its_steps(place: Place) -> None:
    on_busybox(place, ["echo started; sleep 86399"])
    with subprocess.Popen(
        place.words("build"),
        cwd=place.project,
        env=place.env(),
        stderr=subprocess.PIPE,
        preexec_fn=hear_signals,  # noqa: PLW1509 - no thread of ours holds a lock
    ) as child:
        assert eventually(lambda: sleeping(86399))
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 130
    assert eventually(lambda: not sleeping(86399))
    assert list(place.store.scratch.iterdir()) == []


def eventually(true: Callable[[], bool]) -> bool:
    """Whether something becomes true within a minute."""
    deadline = time.monotonic() + 60
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def sleeping(seconds: int) -> bool:
    """Whether some process sleeps for just so long."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == b"sleep\0%d\0" % seconds:
                return True
        except OSError:
            continue
    return False

"""`wardian run` and `shell`: what is said, what comes back, what is written down."""

import json
import os
import pwd
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images import add_image, layer
from tests.verbs.running import make_project, make_store, raw, records
from wardian.store.store import Store

Wardian = Callable[..., Any]


@pytest.fixture(scope="module")
def busybox_store(tmp_path_factory: pytest.TempPathFactory, need: Callable[..., None]) -> Path:
    need("bwrap", "unshare", "busybox")
    return make_store(tmp_path_factory.mktemp("busybox") / "store")


@pytest.fixture
def project(busybox_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WARDIAN_HOME", str(busybox_store))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return make_project(tmp_path / 'my project\'s "code"')


@pytest.fixture
def cdi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cdi"
    folder.mkdir()
    for module in ("wardian.verbs._choose", "wardian.runtimes.sandbox", "wardian.verbs.reproduce"):
        monkeypatch.setattr(f"{module}.FOLDERS", (str(folder),))
    return folder


# ── what comes back ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_program_runs_in_the_projects_folder(wardian: Wardian, project: Path) -> None:
    (project / "file").write_text("here\n")
    done = wardian("run", "--", "sh", "-c", "pwd; cat file; echo made >new; exit 7", cwd=project, code=7)
    assert (done.out, done.err) == ("/workspace\nhere\n", "")
    assert (project / "new").read_text() == "made\n"
    assert (project / "new").stat().st_uid == os.getuid()


def test_from_a_folder_inside_it_is_the_same_project(wardian: Wardian, project: Path) -> None:
    (project / "deep/er").mkdir(parents=True)
    assert wardian("run", "--", "pwd", cwd=project / "deep/er").out == "/workspace\n"
    assert len(records(project)) == 1


def test_whatever_descriptors_are_open(project: Path) -> None:
    program = "import os, sys; [os.open('/dev/null', 0) for _ in range(int(sys.argv.pop(1)))]; import wardian.__main__"
    for count in range(8):
        words = [sys.executable, "-c", program, str(count), "run", "--user", "7:7", "--", "sh", "-c", "echo hi; exit 3"]
        done = subprocess.run(words, cwd=project, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (3, b"hi\n", b"")


def test_words_reach_the_program_also_those_that_look_like_ours(wardian: Wardian, project: Path) -> None:
    words = ["--json", "--", "-h", "", "--image", "a\nb", "$HOME", "é"]
    script = 'for w; do printf "%s|" "$w"; done'
    assert wardian("run", "--", "sh", "-c", script, "sh", *words, cwd=project).out == "|".join(words) + "|"
    assert wardian("run", "sh", "-c", script, "sh", *words, cwd=project).out == "|".join(words) + "|"
    assert records(project)[-1].argv[4:] == tuple(words)


def test_without_words_the_images_own_command_runs(wardian: Wardian, project: Path) -> None:
    assert wardian("run", cwd=project).out == "the image's own command\n"


def test_an_error_about_the_program_is_text_though_the_program_has_json(wardian: Wardian, project: Path) -> None:
    assert wardian("run", "--", "no-such", "--json", cwd=project, code=127).err == (
        "wardian: no-such: command not found in the image\n"
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--image", "nothing"], 125, "there is no image 'nothing' in the store"),
        (["--image", "train[python=3.12]"], 2, "there is no image 'train[python=3.12]'"),
        (["--user", "me"], 2, "'me' is none of host, root, UID:GID (as in: --user 2000:2000)"),
        (["--env", "A"], 2, "--env-pass A"),
        (["--env-pass", "A=secret"], 2, "is no name"),
        (["--mount", "/a"], 2, "SOURCE:TARGET"),
        (["--mount", "/no/such:/x"], 2, "/no/such does not exist"),
        (["--mount", ":/x"], 2, "SOURCE:TARGET"),
        (["--mount", ".:/"], 2, "would hide the whole image"),
        (["--shm", "lots"], 2, "is not a size"),
        (["--workdir", "sub"], 2, "'sub' is not absolute (it is a folder of the image, as in: /workspace)"),
        (["--gpus", "3"], 125, "GPUs were asked for"),
        (["-d", "-t"], 2, "no terminal"),
    ],
)
@pytest.mark.usefixtures("cdi")
def test_a_flag_that_is_wrong_is_named_and_nothing_runs(
    wardian: Wardian, project: Path, words: list[str], code: int, said: str
) -> None:
    done = wardian("run", *words, "--", "touch", "ran", cwd=project, code=code)
    assert said in done.err
    assert not (project / "ran").exists()
    assert records(project) == []


def test_several_faults_are_said_at_once(wardian: Wardian, project: Path) -> None:
    done = wardian("run", "--shm", "x", "--workdir", "y", "--", "true", cwd=project, code=2)
    assert "--shm" in done.err
    assert "--workdir" in done.err


def test_a_missing_mount_of_the_file_is_named(wardian: Wardian, project: Path) -> None:
    with (project / "wardian.toml").open("a") as file:
        file.write('[mounts.data]\nsource = "../data"\ntarget = "/data"\n')
    done = wardian("run", "--", "true", cwd=project, code=2)
    assert "mount /data" in done.err
    assert str(project.parent / "data") in done.err


def test_an_image_that_is_not_built(
    wardian: Wardian, project: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDIAN_HOME", str(home / "empty"))
    done = wardian("run", "--", "true", cwd=project, code=125)
    assert done.err == "wardian: image train is not built\n  type: wardian build train\n"


def test_an_image_of_another_lock_still_runs_and_says_so(wardian: Wardian, project: Path) -> None:
    (project / "wardian.lock").unlink()
    done = wardian("run", "--", "echo", "hi", cwd=project)
    assert (done.out, done.err) == ("hi\n", "image train was built from another lock; type: wardian build train\n")


def test_the_file_may_leave_the_image_to_a_variable(
    wardian: Wardian, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "wardian.toml").write_text(
        '[project]\nname = "other"\n[images.own]\nfrom = "debian"\n[run]\nimage = "${TRAINER_IMAGE:-own}"\n'
    )
    assert "image own is not built" in wardian("run", "--", "true", cwd=other, code=125).err
    monkeypatch.setenv("TRAINER_IMAGE", "demo/train:latest")
    assert wardian("run", "--", "echo", "played", cwd=other).out == "played\n"


def test_without_a_project_an_image_of_the_store_runs(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = wardian("run", "--gpus", "none", "--image", "demo/train:latest", "--", "ls", "-A", "/", cwd=empty)
    assert "workspace" in done.out, "the image's workdir is made"
    done = wardian("run", "--", "true", cwd=empty, code=2)
    assert "there is no wardian.toml here" in done.err


def test_a_user_without_a_home_or_a_passwd_entry(
    wardian: Wardian, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    home = "/root" if os.getuid() == 0 else f"/home/u{os.getuid()}"
    assert wardian("run", "--", "sh", "-c", "echo $HOME", cwd=project).out == f"{home}\n"
    monkeypatch.delenv("WARDIAN_HOME")
    assert "set WARDIAN_HOME to a folder" in wardian("run", "--", "true", cwd=project, code=125).err


def test_a_missing_bubblewrap_is_named(
    wardian: Wardian, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "id", "unshare", "setpriv", "git", "rm", "mount"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))
    done = wardian("run", "--", "true", cwd=project, code=125)
    assert done.err == "wardian: bwrap is not on this machine\n  type: sudo apt-get install bubblewrap\n"
    assert records(project)[-1].state == "failed"


# ── flags ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_environment_of_the_file_of_flags_and_by_name(
    wardian: Wardian, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(project, 'gpus = "none"\nenv = { A = "file", B = "file" }\nenv-pass = ["FROM_FILE", "NOT_SET"]')
    (project / ".env").write_text("FROM_DOTENV=dot\n")
    monkeypatch.setenv("FROM_FILE", "one")
    monkeypatch.setenv("HOST_ONLY", "no")
    done = wardian(
        "run", "--env", "B=flag", "--env", "C=x=y", "--env-pass", "FROM_DOTENV", "--",
        "sh", "-c", "echo $A $B $C $FROM_FILE $FROM_DOTENV [$HOST_ONLY] [$NOT_SET] $FROM_IMAGE $PYTHONNOUSERSITE",
        cwd=project,
    )  # fmt: skip
    assert done.out == "file flag x=y one dot [] [] yes 1\n"
    assert done.err == "NOT_SET is not set: it is not handed on\n"


def test_secrets_are_nowhere_but_in_the_program(
    wardian: Wardian, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hunter2-passed")
    done = wardian(
        "run", "-v", "--env-pass", "WANDB_API_KEY", "--env", "HF_TOKEN=hunter2-typed", "--env", "SEED=1", "--",
        "sh", "-c", "test ${#WANDB_API_KEY} -eq 14", cwd=project,
    )  # fmt: skip
    assert "hunter2" not in done.err + done.out
    assert "HF_TOKEN=***" in done.err
    assert "SEED=1" in done.err
    kept = "".join(path.read_text() for path in (project / ".wardian").rglob("*") if path.is_file())
    assert "hunter2" not in kept
    record = records(project)[-1]
    assert (record.env, record.env_pass) == ({"HF_TOKEN": None, "SEED": "1"}, ("WANDB_API_KEY",))


def test_mounts_user_workdir_and_shm(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x").write_text("data\n")
    done = wardian(
        *("run", "--mount", "../data:/data:ro", "--user", "root", "--workdir", "/tmp", "--shm", "2m", "--"),
        *(
            "sh",
            "-c",
            "pwd; id -u; cat /data/x; touch /data/y || echo no; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2",
        ),
        cwd=project,
    )
    assert done.out.split("\n") == ["/tmp", "0", "data", "no", "2048", ""]


def test_a_mount_of_another_kind_than_what_it_covers_is_named(wardian: Wardian, project: Path) -> None:
    (project / "file").touch()
    for mount in ("file:/bin", ".:/etc/passwd"):
        done = wardian("run", "--mount", mount, "--", "true", cwd=project, code=125)
        assert re.fullmatch(r"wardian: cannot bind .* to /(bin|etc/passwd): only one of them is a folder\n", done.err)


def test_a_bind_beneath_tmp_is_there_when_the_rest_is_read_only(wardian: Wardian, project: Path) -> None:
    (project / "deep").mkdir()
    script = "echo more >/tmp/a/b/new && touch /tmp/free && ls /tmp/a/b"
    for more in ([], ["--read-only"], ["--read-only", "--user", "7:8"]):
        (project / "deep").chmod(0o777)
        assert wardian("run", *more, "-m", "deep:/tmp/a/b", "--", "sh", "-c", script, cwd=project).out == "new\n"
        (project / "deep/new").unlink()


def test_no_project_means_no_bind_and_read_only_means_it(wardian: Wardian, project: Path) -> None:
    assert wardian("run", "--no-project", "--", "ls", "-A", "/workspace", cwd=project).out == ""
    done = wardian("run", "--read-only", "--", "sh", "-c", "touch /etc/x || echo no; touch ok && ls ok", cwd=project)
    assert done.out == "no\nok\n"


def test_ports_are_free_ones_and_said(wardian: Wardian, project: Path) -> None:
    with socket.create_server(("", 0)) as busy:
        port = busy.getsockname()[1]
        make_project(project, f'gpus = "none"\nports = {{ tensorboard = {port} }}')
        done = wardian("run", "--", "sh", "-c", "echo $WARDIAN_PORT_TENSORBOARD", cwd=project)
    assert int(done.out) > port
    assert done.err == f"ports: tensorboard {done.out.strip()} ({port} is taken)\n"
    assert records(project)[-1].ports == {"tensorboard": int(done.out)}


# ── GPUs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_gpu_auto_says_one_line(wardian: Wardian, project: Path, cdi: Path) -> None:
    make_project(project, "")
    done = wardian("run", "--", "echo", "hi", cwd=project)
    assert done.out == "hi\n"
    assert done.err.startswith("no GPU: there is no CDI specification")
    assert len(done.err.splitlines()) == 1


def test_a_gpu_that_is_asked_for_and_absent_is_an_error(wardian: Wardian, project: Path, cdi: Path) -> None:
    for wish in ("all", "1", "0,1"):
        done = wardian("run", "--gpus", wish, "--", "true", cwd=project, code=125)
        assert "GPUs were asked for" in done.err
        assert "nvidia-ctk" in done.err


def test_a_gpu_brings_its_nodes_files_links_and_variables(
    wardian: Wardian, project: Path, cdi: Path, tmp_path: Path
) -> None:
    library = tmp_path / "libgpu.so.5"
    library.write_text("library")
    (tmp_path / "libgpu.so").symlink_to("libgpu.so.5")
    edits = {
        "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null"}],
        "mounts": [{"hostPath": str(library), "containerPath": "/usr/lib/libgpu.so.5", "options": ["ro"]}],
        "env": ["GPU_SEEN=0"],
        "hooks": [{"args": ["hook", "update-ldcache", "--folder", "/usr/lib"]}],
    }
    spec = {"kind": "v.com/gpu", "devices": [{"name": "0", "containerEdits": edits}]}
    (cdi / "v.json").write_text(json.dumps(spec))
    make_project(project, "")
    script = "test -c /dev/gpu0 && echo x >/dev/gpu0 && cat /usr/lib/libgpu.so && echo $GPU_SEEN $LD_LIBRARY_PATH"
    done = wardian("run", "--", "sh", "-c", script, cwd=project)
    assert (done.out, done.err) == ("library0 /usr/lib\n", "")
    assert records(project)[-1].gpus == ("v.com/gpu=0",)
    assert wardian("run", "--gpus", "none", "--", "ls", "/dev", cwd=project).out.count("gpu0") == 0


def test_a_damaged_specification_is_no_gpu_for_auto_and_an_error_otherwise(
    wardian: Wardian, project: Path, cdi: Path
) -> None:
    (cdi / "v.yaml").write_text("a: [")
    make_project(project, "")
    done = wardian("run", "--", "true", cwd=project)
    assert "v.yaml is not YAML" in done.err
    assert "v.yaml is not YAML" in wardian("run", "--gpus", "1", "--", "true", cwd=project, code=125).err


# ── records ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_written_down(wardian: Wardian, project: Path) -> None:
    wardian("run", "--name", "first", "--", "sh", "-c", "exit 3", cwd=project, code=3)
    data = raw(project)
    assert {name: data[name] for name in ("state", "exit_code", "signal", "name", "workdir", "user", "variant")} == {
        "state": "finished",
        "exit_code": 3,
        "signal": None,
        "name": "first",
        "workdir": "/workspace",
        "user": "host",
        "variant": "train",
    }
    record = records(project)[0]
    assert record.digest.startswith("sha256:")
    assert str(record.lock).startswith("sha256:")
    assert record.host == socket.gethostname()
    assert record.created <= str(record.started) <= str(record.finished)
    assert record.code.reason == "the project is not in a git repository"
    assert (project / ".wardian/.gitignore").read_text() == "*\n"


def test_a_signal_is_written_down(wardian: Wardian, project: Path) -> None:
    wardian("run", "--", "sh", "-c", "kill -9 $$", cwd=project, code=137)
    assert (records(project)[0].exit_code, records(project)[0].signal) == (137, 9)
    assert "SIGKILL" in wardian("runs", cwd=project).out


def test_a_signal_without_a_name_is_a_number(wardian: Wardian, project: Path) -> None:
    wardian("run", "--", "sh", "-c", "kill -40 $$", cwd=project, code=168)
    assert "signal 40" in wardian("ps", "--all", cwd=project).out


def test_the_record_is_there_while_the_program_runs(wardian: Wardian, project: Path) -> None:
    done = wardian("run", "--", "sh", "-c", "sleep 0.3; cat .wardian/runs/*/record.json", cwd=project)
    during = json.loads(done.out)
    assert (during["state"], during["exit_code"], during["finished"]) == ("running", None, None)
    assert during["init"]["pid"] > 1


def test_a_missing_program_is_a_failed_run(wardian: Wardian, project: Path) -> None:
    wardian("run", "--", "no-such-thing", cwd=project, code=127)
    assert (records(project)[0].state, records(project)[0].exit_code) == ("failed", 127)


def test_a_project_that_cannot_be_written_to_still_runs(wardian: Wardian, project: Path, busybox_store: Path) -> None:
    (project / ".wardian").write_text("in the way")
    done = wardian("run", "--", "echo", "hi", cwd=project)
    assert done.out == "hi\n"
    assert len(done.err.splitlines()) == 1
    assert f"the run's record is in {busybox_store}/runs/" in done.err
    assert "echo hi" in wardian("runs", cwd=project).out


def test_the_code_is_written_down(wardian: Wardian, project: Path) -> None:
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    (project / "new.py").write_text("x = 1\n")
    wardian("run", "--", "true", cwd=project)
    code = records(project)[0].code
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True).stdout
    assert (code.revision, code.patch) == (head.strip(), True)
    (patch,) = (project / ".wardian/runs").glob("*/code.patch")
    assert "+x = 1" in patch.read_text()
    assert f"{head[:8]}+" in wardian("runs", cwd=project).out


@pytest.fixture
def alone(project: Path) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """`wardian` as a process of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> "subprocess.Popen[bytes]":
        pipe = subprocess.PIPE
        child = subprocess.Popen([sys.executable, "-m", "wardian", *words], cwd=project, stdout=pipe, stderr=pipe)
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_a_killed_wardian_leaves_a_run_that_is_lost(
    wardian: Wardian, project: Path, alone: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    child = alone("run", "--", "sh", "-c", "echo ready; exec sleep 100")
    assert child.stdout
    assert child.stdout.readline() == b"ready\n"
    deadline = time.monotonic() + 20
    while not records(project)[0].init and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert records(project)[0].state == "lost"
    assert "lost" in wardian("runs", cwd=project).out
    init = records(project)[0].init
    assert init is not None
    assert init.alive(), "nobody was there to end it"
    assert "lost" in wardian("ps", cwd=project).out, "what runs is shown"
    assert wardian("exec", "@last", "echo", "still here", cwd=project).out == "still here\n"
    wardian("stop", "--time", "1", "@last", cwd=project)
    assert not init.alive()
    assert len(wardian("ps", cwd=project).out.splitlines()) == 1


# ── the shell ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_shell_reads_its_script_and_its_code_comes_back(project: Path) -> None:
    words = [sys.executable, "-m", "wardian", "shell", "--env", "A=1"]
    done = subprocess.run(words, cwd=project, input=b"echo $0 $A; pwd; exit 5\n", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (5, b"/bin/sh 1\n/workspace\n")


def test_an_image_without_a_shell(wardian: Wardian, project: Path, busybox_store: Path) -> None:
    add_image(Store(busybox_store), "demo/bare:latest", [layer({"etc": None})])
    done = wardian("shell", "--gpus", "none", "--image", "demo/bare:latest", cwd=project, code=125)
    assert done.err == "wardian: the image has no shell\n  type: wardian run -- PROGRAM\n"


def test_a_run_can_be_named_only_once_at_a_time(wardian: Wardian, project: Path) -> None:
    wardian("run", "--name", "x", "--", "true", cwd=project)
    wardian("run", "--name", "x", "--", "true", cwd=project)
    wardian("run", "-d", "--name", "x", "--", "sleep", "100", cwd=project)
    done = wardian("run", "--name", "x", "--", "true", cwd=project, code=2)
    assert "a run named 'x' is running" in done.err
    wardian("stop", "--time", "0", "x", cwd=project)


def test_the_callers_name_is_known_inside(wardian: Wardian, project: Path) -> None:
    name = pwd.getpwuid(os.getuid()).pw_name
    assert wardian("run", "--", "id", "-un", cwd=project).out == f"{name}\n"

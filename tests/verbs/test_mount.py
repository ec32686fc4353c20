"""`wardian mount`: nothing is said to be on that is not, wherever one stands."""

import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PlainUser
from tests.images import add_image, layer
from tests.people import Person, hear_signals
from tests.rootfs import MODES, defaults, files
from tests.verbs.running import LOCKED, make_project, records
from wardian.plan.labels import OURS, lock_digest
from wardian.store.store import Store

Wardian = Callable[..., Any]
SITE = "opt/env/lib/python3.11/site-packages"
DECLARED = (
    '[mounts.rsl_rl]\ntarget = "@site-packages/rsl_rl"\nenabled = false\ncluster = { path = "/c/rsl", sync = true }\n'
)


@pytest.fixture(scope="module")
def image_store(tmp_path_factory: pytest.TempPathFactory, need: Callable[..., None]) -> Path:
    """An image with a package whose text is "installed", as if its virtual environment was ours."""
    need("bwrap", "unshare", "busybox")
    store = tmp_path_factory.mktemp("mounts") / "store"
    installed = {
        f"{SITE}/rsl_rl/__init__.py": b"installed\n",
        f"{SITE}/rsl_rl_lib-2.3.1.dist-info/RECORD": b"rsl_rl/__init__.py,,\nrsl_rl_lib-2.3.1.dist-info/RECORD,,\n",
        f"{SITE}/two-1.dist-info/RECORD": b"two_a/__init__.py,,\ntwo_b.py,,\n",
        f"{SITE}/six.py": b"installed\n",
        "data/file": b"",
    }
    labels = {f"{OURS}lock": lock_digest(LOCKED), f"{OURS}image": "train", f"{OURS}python": "3.11"}
    config = {"WorkingDir": "/workspace", "Labels": labels, "Env": ["PATH=/bin", "VIRTUAL_ENV=/opt/env"]}
    layers = [layer(files(), modes=MODES), layer(installed)]
    add_image(Store(store), "demo/train:latest", layers, config=defaults(config))
    return store


@pytest.fixture
def project(image_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WARDIAN_HOME", str(image_store))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = make_project(tmp_path / "my project")
    with (folder / "wardian.toml").open("a") as file:
        file.write(DECLARED)
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return package(tmp_path / "dev" / "rsl_rl", "src/rsl_rl")


def package(root: Path, place: str, text: str = "mine\n") -> Path:
    (root / place).mkdir(parents=True)
    (root / place / "__init__.py").write_text(text)
    (root / "pyproject.toml").touch()
    return root


def seen(wardian: Wardian, project: Path, *words: str) -> str:
    """What a program in the image finds in the package."""
    text: str = wardian("run", *words, "--", "cat", f"/{SITE}/rsl_rl/__init__.py", cwd=project).out
    return text.strip()


def local(project: Path) -> str:
    path = project / "wardian.local.toml"
    return path.read_text() if path.exists() else ""


# ── the way of it ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_set_enable_and_disable_from_any_folder(
    wardian: Wardian, project: Path, checkout: Path, tmp_path: Path
) -> None:
    """In the original, mount commands depended on the working directory and said success while nothing was mounted."""
    assert seen(wardian, project) == "installed"
    deep = project / "deep" / "er"
    deep.mkdir(parents=True)
    relative = os.path.relpath(checkout, deep)
    done = wardian("mount", "set", "rsl_rl", relative, cwd=deep)
    assert done.out == (f"rsl_rl is off: {checkout}/src/rsl_rl → /{SITE}/rsl_rl; type: wardian mount enable rsl_rl\n")
    assert seen(wardian, project) == "installed"

    said = wardian("mount", "enable", "rsl_rl", "-C", str(project), cwd=tmp_path)
    assert said.out == f"rsl_rl is on: {checkout}/src/rsl_rl → /{SITE}/rsl_rl\n"
    assert seen(wardian, project) == "mine"
    assert seen(wardian, deep) == "mine"
    assert records(project)[-1].mounts[0].source == f"{checkout}/src/rsl_rl"

    assert "the image's own" in wardian("mount", "disable", "rsl_rl", cwd=deep).out
    assert seen(wardian, project) == "installed"
    wardian("mount", "enable", "rsl_rl", cwd=tmp_path / "my project")
    assert seen(wardian, project) == "mine"


def test_a_bad_path_is_refused_and_nothing_is_stored(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    """In the original a bad path said "Enabled"."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for path, why in {
        "/no/such": "/no/such does not exist on this machine",
        "": "the path is empty",
        str(tmp_path / "empty"): "holds no package rsl_rl",
        str(tmp_path / "file"): "is a file, and rsl_rl is a package",
        str(tmp_path / "dangling"): "is a symbolic link to nowhere, which does not exist",
        "/dev/null": "is neither a file nor a folder",
    }.items():
        done = wardian("mount", "set", "rsl_rl", path, cwd=project, code=2)
        assert (done.out, local(project)) == ("", "")
        assert why in done.err
    done = wardian("mount", "enable", "rsl_rl", cwd=project, code=2)
    assert done.err == (
        "wardian: mounts.rsl_rl: has no source (type: wardian mount set rsl_rl PATH)\n  nothing was changed\n"
    )
    assert local(project) == ""


def test_a_source_that_vanishes_stops_enable_and_run(wardian: Wardian, project: Path, checkout: Path) -> None:
    wardian("mount", "set", "rsl_rl", str(checkout), cwd=project)
    checkout.rename(checkout.with_name("moved"))
    done = wardian("mount", "enable", "rsl_rl", cwd=project, code=2)
    assert f"{checkout}/src/rsl_rl does not exist" in done.err
    assert "enabled" not in local(project)
    checkout.with_name("moved").rename(checkout)
    wardian("mount", "enable", "rsl_rl", cwd=project)
    checkout.rename(checkout.with_name("moved"))
    done = wardian("run", "--", "true", cwd=project, code=2)
    assert f"{checkout}/src/rsl_rl does not exist" in done.err
    done = wardian("mount", "validate", "--json", cwd=project, code=1)
    assert done.json()["rsl_rl"]["state"] == "wrong"
    assert "wrong" in wardian("mount", "show", cwd=project).out
    wardian("mount", "disable", "rsl_rl", cwd=project)
    assert seen(wardian, project) == "installed"


def test_the_local_file_keeps_comments_and_formatting(wardian: Wardian, project: Path, checkout: Path) -> None:
    before = "# mine\n[run]\nshm = 1024   # enough\n\n[mounts.rsl_rl]\n# where I work\nenabled = false # for now\n"
    (project / "wardian.local.toml").write_text(before)
    (project / "wardian.local.toml").chmod(0o600)
    wardian("mount", "set", "rsl_rl", str(checkout), cwd=project)
    wardian("mount", "enable", "rsl_rl", cwd=project)
    after = local(project)
    assert after == before.replace("false", "true") + f'source = "{checkout}/src/rsl_rl"\n'
    assert (project / "wardian.local.toml").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in project.iterdir() if "local" in path.name] == ["wardian.local.toml"]


def test_a_source_in_the_project_is_relative_to_it(wardian: Wardian, project: Path) -> None:
    package(project, "third party/~x/rsl_rl")
    wardian("mount", "set", "rsl_rl", "third party/~x", cwd=project)
    assert 'source = "third party/~x/rsl_rl"' in local(project)
    wardian("mount", "enable", "rsl_rl", cwd=project)
    moved = project.rename(project.with_name("elsewhere"))
    assert seen(wardian, moved) == "mine"


@pytest.mark.parametrize("name", ['a b\'s "c"', "new\nline", "é日本", "$HOME ${USER} $$", "~", "a,b:c", "-x", "#"])
def test_any_name_of_a_source(wardian: Wardian, project: Path, tmp_path: Path, name: str) -> None:
    for root in (tmp_path / "dev", project):
        folder = package(root / name, "rsl_rl")
        wardian("mount", "set", "rsl_rl", str(folder), cwd=project)
        wardian("mount", "enable", "rsl_rl", cwd=project)
        assert seen(wardian, project) == "mine"
        shown = wardian("mount", "show", "--format", "docker", cwd=project).out
        (word,) = shlex.split(shown)[1:]
        assert str(folder) in word.replace('""', '"')


def test_a_name_that_is_not_utf_8(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    folder = package(tmp_path / os.fsdecode(b"\xff"), "rsl_rl")
    assert "is not UTF-8" in wardian("mount", "set", "rsl_rl", str(folder), cwd=project, code=2).err
    (tmp_path / "link").symlink_to(folder)
    wardian("mount", "set", "rsl_rl", str(tmp_path / "link"), cwd=project)
    wardian("mount", "enable", "rsl_rl", cwd=project)
    assert seen(wardian, project) == "mine"


# ── names and targets ──────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_name_is_told_what_was_meant(wardian: Wardian, project: Path, checkout: Path) -> None:
    for words in (["enable", "rsl-rl"], ["disable", "rsl-rl"], ["validate", "rsl-rl"]):
        done = wardian("mount", *words, cwd=project, code=2)
        assert done.err == "wardian: there is no mount 'rsl-rl'\n  did you mean rsl_rl?\n"
    done = wardian("mount", "set", "numpy", str(checkout), cwd=project, code=2)
    assert "there is no mount 'numpy'" in done.err
    assert "--target @site-packages/" in done.err


def test_a_distribution_of_the_image_needs_no_target(wardian: Wardian, project: Path, checkout: Path) -> None:
    (project / "wardian.toml").write_text((project / "wardian.toml").read_text().replace(DECLARED, ""))
    done = wardian("mount", "set", "rsl-rl-lib", str(checkout), cwd=project)
    assert done.out == f"rsl-rl-lib is on: {checkout}/src/rsl_rl → /{SITE}/rsl_rl\n"
    assert 'target = "@site-packages/rsl_rl"' in local(project)
    assert seen(wardian, project) == "mine"
    done = wardian("mount", "set", "two", str(checkout), cwd=project, code=2)
    assert (
        done.err
        == "wardian: two is imported as two_a, two_b.py\n  add --target @site-packages/two_a, or another of them\n"
    )
    (checkout / "six.py").write_text("mine\n")
    assert "/six.py" in wardian("mount", "set", "six", str(checkout), cwd=project).out


def test_what_the_image_lacks_is_said(wardian: Wardian, project: Path, checkout: Path, tmp_path: Path) -> None:
    target = ["--target", "@site-packages/rsl-rl-lib"]
    package(tmp_path / "odd", "rsl-rl-lib")
    done = wardian("mount", "set", "other", str(tmp_path / "odd"), *target, cwd=project)
    assert done.err == (
        "other: the image has no rsl-rl-lib, so nothing is overridden; "
        "the distribution rsl-rl-lib is imported as rsl_rl\n"
    )
    done = wardian("mount", "set", "else", str(tmp_path), "--target", "/nothing/there", cwd=project)
    assert "the image has nothing at /nothing/there" in done.err
    done = wardian("mount", "set", "data", str(checkout / "pyproject.toml"), "--target", "/data", cwd=project, code=2)
    assert f"/data is a folder in the image, and {checkout}/pyproject.toml is a file" in done.err
    assert wardian("mount", "validate", "other", cwd=project).err.startswith("other: the image has no")


def test_without_an_image_that_is_said(
    wardian: Wardian, project: Path, checkout: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDIAN_HOME", str(home / "empty"))
    done = wardian("mount", "set", "rsl_rl", str(checkout), cwd=project)
    assert done.err == "rsl_rl: not compared with an image: image train is not built\n"
    wardian("mount", "enable", "rsl_rl", cwd=project)
    done = wardian("mount", "show", "--format", "docker", cwd=project, code=1)
    assert "only an image tells where @site-packages/rsl_rl is: image train is not built" in done.err
    assert "is not built" in wardian("mount", "enable", "rsl_rl", "--image", "train", cwd=project, code=1).err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--target", "rel"], "must be an absolute path, or @site-packages/PACKAGE"),
        (["--target", "@site-packages/"], "must be an absolute path, or @site-packages/PACKAGE"),
        (["--target", "@site-packages/../../x"], "leads out of the packages"),
        (["--target", "/"], "would hide the whole image"),
        (["--target", ""], "must be an absolute path"),
    ],
)
def test_targets_that_cannot_be(wardian: Wardian, project: Path, tmp_path: Path, words: list[str], why: str) -> None:
    done = wardian("mount", "set", "new", str(tmp_path), *words, cwd=project, code=2)
    assert why in done.err
    assert local(project) == ""


def test_sources_that_cannot_be(wardian: Wardian, project: Path, image_store: Path, tmp_path: Path) -> None:
    (tmp_path / "root").symlink_to("/")
    for path in ("/", str(tmp_path / "root")):
        done = wardian("mount", "set", "new", path, "--target", "/x", cwd=project, code=2)
        assert "would hand over the whole machine" in done.err
        assert "the whole machine" in wardian("run", "-m", f"{path}:/x", "--", "true", cwd=project, code=2).err
    for inside in (image_store, image_store / "blobs"):
        done = wardian("mount", "set", "new", str(inside), "--target", "/x", cwd=project, code=2)
        assert "is in the store" in done.err
        assert "is in the store" in wardian("run", "-m", f"{inside}:/x", "--", "true", cwd=project, code=2).err
    kept = image_store / "runs" / "code-1"  # of a run whose project cannot be written to
    kept.mkdir(parents=True)
    wardian("run", "-m", f"{kept}:/x", "--", "true", cwd=project)
    shutil.rmtree(image_store / "runs")
    assert local(project) == ""


def test_a_name_that_cannot_be_one(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    done = wardian("mount", "set", "A b", str(tmp_path), "--target", "/x", cwd=project, code=2)
    assert "must be lower-case" in done.err
    assert local(project) == ""


def test_two_at_one_target_and_one_in_another(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    wardian("mount", "set", "one", str(tmp_path), "--target", "/x", cwd=project)
    done = wardian("mount", "set", "two", str(tmp_path), "--target", "/x/", cwd=project, code=2)
    assert "mounts.two: is at /x, and so is one" in done.err
    done = wardian("mount", "set", "two", str(tmp_path), "--target", "/x/y", cwd=project)
    assert "two: lies in the mount one" in done.err
    with (project / "wardian.local.toml").open("a") as file:
        file.write('[mounts.three]\nsource = "."\ntarget = "/x"\n')
    assert "mounts.three: is at /x, and so is one" in wardian("run", "--", "true", cwd=project, code=2).err
    wardian("mount", "validate", cwd=project, code=1)
    wardian("mount", "disable", "three", cwd=project)
    wardian("mount", "validate", cwd=project)


def test_what_a_variable_says_wins_and_is_not_hidden(
    wardian: Wardian, project: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDIAN_MOUNTS__RSL_RL__ENABLED", "false")
    wardian("mount", "set", "rsl_rl", str(checkout), cwd=project)
    done = wardian("mount", "enable", "rsl_rl", cwd=project, code=2)
    assert "is set by WARDIAN_MOUNTS__RSL_RL__ENABLED, which wins over wardian.local.toml" in done.err
    assert "enabled" not in local(project)


def test_a_source_that_one_may_not_read(plain_user: PlainUser, project: Path, tmp_path: Path) -> None:
    person = Person("subids", plain_user.uid, plain_user.gid, plain_user.prefix)
    closed = package(tmp_path / "closed", "rsl_rl") / "rsl_rl"
    foreign = package(tmp_path / "foreign", "rsl_rl") / "rsl_rl"
    closed.chmod(0o000)
    foreign.chmod(0o555)
    person.own(project)
    for path, code, why in ((closed, 2, "cannot be read by you"), (foreign, 0, "you may not write to it")):
        words = [*person.python(), "-m", "wardian", "mount", "set", "rsl_rl", str(path)]
        environment = {**os.environ, "WARDIAN_HOME": str(tmp_path / "no store")}
        done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert why in done.stderr
    closed.chmod(0o755)


# ── what is said ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_project_that_one_may_not_write_to(
    plain_user: PlainUser, project: Path, checkout: Path, tmp_path: Path
) -> None:
    person = Person("subids", plain_user.uid, plain_user.gid, plain_user.prefix)
    person.own(checkout)
    project.chmod(0o555)
    words = [*person.python(), "-m", "wardian", "mount", "set", "rsl_rl", str(checkout)]
    environment = {**os.environ, "WARDIAN_HOME": str(tmp_path / "no store")}
    done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)
    project.chmod(0o755)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.endswith(
        f"wardian: {project}/wardian.local.toml cannot be written: Permission denied\n  nothing was changed\n"
    )
    assert local(project) == ""


def test_show_says_all_of_it(wardian: Wardian, project: Path, checkout: Path) -> None:
    assert wardian("mount", "show", cwd=project).out.splitlines()[1].split() == [
        *("rsl_rl", "off", "-", "@site-packages/rsl_rl", "/c/rsl", "(synced)", "-"),
    ]
    wardian("mount", "set", "rsl_rl", str(checkout), "--read-only", cwd=project)
    wardian("mount", "enable", "rsl_rl", cwd=project)
    data = wardian("mount", "show", "--format", "json", cwd=project).json()
    assert data == wardian("mount", "show", "--json", cwd=project).json()
    assert data["rsl_rl"] == {
        "state": "on",
        "enabled": True,
        "source": f"{checkout}/src/rsl_rl",
        "target": f"/{SITE}/rsl_rl",
        "written": {"source": f"{checkout}/src/rsl_rl", "target": "@site-packages/rsl_rl"},
        "read_only": True,
        "cluster": {"path": "/c/rsl", "sync": True},
        "faults": [],
        "notes": [],
    }


def test_every_engine_is_told_the_same(wardian: Wardian, project: Path, checkout: Path, tmp_path: Path) -> None:
    wardian("mount", "set", "rsl_rl", str(checkout), cwd=project)
    wardian("mount", "enable", "rsl_rl", cwd=project)
    wardian("mount", "set", "data", str(tmp_path), "--target", "/data", "--read-only", cwd=project)
    source, target = f"{checkout}/src/rsl_rl", f"/{SITE}/rsl_rl"
    docker = [
        *("--mount", f"type=bind,source={source},target={target}"),
        *("--mount", f"type=bind,source={tmp_path},target=/data,readonly"),
    ]
    for engine in ("docker", "podman"):
        assert shlex.split(wardian("mount", "show", "--format", engine, cwd=project).out) == docker
    said = wardian("mount", "show", "--format", "apptainer", cwd=project).out
    assert shlex.split(said) == ["--bind", f"{source}:{target}", "--bind", f"{tmp_path}:/data:ro"]
    wardian("run", "--", "true", cwd=project)
    binds = {(bind.source, bind.target, bind.read_only) for bind in records(project)[-1].mounts}
    assert binds == {(source, target, False), (str(tmp_path), "/data", True)}


def test_a_path_that_an_engine_cannot_be_told(wardian: Wardian, project: Path, tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    wardian("mount", "set", "data", str(tmp_path / "a:b"), "--target", "/data", cwd=project)
    done = wardian("mount", "show", "--format", "apptainer", cwd=project, code=2)
    assert "mount /data" in done.err
    assert "cannot be said to apptainer: it has a : in it" in done.err
    wardian("mount", "show", "--format", "docker", cwd=project)
    assert wardian("run", "--", "ls", "-d", "/data", cwd=project).out == "/data\n"


def test_a_dry_run_writes_nothing(wardian: Wardian, project: Path, checkout: Path) -> None:
    done = wardian("mount", "set", "rsl_rl", str(checkout), "--dry-run", cwd=project)
    assert done.out.startswith("rsl_rl would be off")
    assert wardian("mount", "disable", "rsl_rl", "--dry-run", cwd=project).out.startswith("rsl_rl would be off")
    assert local(project) == ""


def test_git_that_would_take_the_local_file_is_named(wardian: Wardian, project: Path, checkout: Path) -> None:
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    said = wardian("mount", "set", "rsl_rl", str(checkout), cwd=project).err
    assert said == "git does not ignore wardian.local.toml, which is yours alone: add it to .gitignore\n"
    (project / ".gitignore").write_text("wardian.local.toml\n")
    assert wardian("mount", "enable", "rsl_rl", cwd=project).err == ""


def test_a_file_that_is_a_link_stays_one(wardian: Wardian, project: Path, checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "dotfiles.toml").write_text("# far away\n")
    (project / "wardian.local.toml").symlink_to(tmp_path / "dotfiles.toml")
    wardian("mount", "set", "rsl_rl", str(checkout), cwd=project)
    assert (project / "wardian.local.toml").is_symlink()
    assert "rsl_rl" in (tmp_path / "dotfiles.toml").read_text()


def test_two_at_once_lose_nothing(wardian: Wardian, project: Path, checkout: Path) -> None:
    words = [sys.executable, "-m", "wardian", "mount", "set"]
    targets = [[f"m{at}", str(checkout), "--target", f"/m{at}"] for at in range(6)]
    children = [subprocess.Popen([*words, *more], cwd=project) for more in targets]
    assert [child.wait() for child in children] == [0] * 6
    assert sorted(wardian("mount", "show", "--json", cwd=project).json()) == [*(f"m{at}" for at in range(6)), "rsl_rl"]


# ── the wizard ─────────────────────────────────────────────────────────────────────────────────────────────────────


def answered(project: Path, *answers: str) -> tuple[int, str]:
    """`mount setup` at a terminal, each answer typed to a question of its own: the exit code and what was seen."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "wardian", "mount", "setup"]

    def ready() -> None:
        hear_signals()
        os.login_tty(theirs)

    child = subprocess.Popen(words, cwd=project, preexec_fn=ready)  # noqa: PLW1509
    os.close(theirs)
    seen, waiting = "", list(answers)
    try:
        while piece := os.read(ours, 4096):
            seen += piece.decode()
            if waiting and seen.count("to leave it") > len(answers) - len(waiting):
                os.write(ours, f"{waiting.pop(0)}\n".encode())
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return child.wait(), seen


def test_setup_asks_until_an_answer_can_be(wardian: Wardian, project: Path, checkout: Path) -> None:
    code, screen = answered(project, "/no/such", str(checkout))
    assert code == 0, screen
    assert "/no/such does not exist" in screen
    assert seen(wardian, project) == "mine"
    code, screen = answered(project, "")
    assert (code, seen(wardian, project)) == (0, "mine")
    code, screen = answered(project, "-")
    assert (code, seen(wardian, project)) == (0, "installed")


def test_setup_that_is_broken_off_changes_nothing(project: Path, checkout: Path) -> None:
    with (project / "wardian.toml").open("a") as file:
        file.write('[mounts.data]\ntarget = "/data"\n')
    code, screen = answered(project, str(checkout), "\x03")
    assert code == 130, screen
    assert local(project) == ""


def test_setup_without_a_terminal_says_what_to_type(wardian: Wardian, project: Path) -> None:
    words = [sys.executable, "-m", "wardian", "mount", "setup"]
    done = subprocess.run(words, cwd=project, input="x\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "wardian: there is no terminal to ask at\n  type: wardian mount set rsl_rl PATH\n",
    )


def test_setup_without_mounts(wardian: Wardian, project: Path) -> None:
    (project / "wardian.toml").write_text((project / "wardian.toml").read_text().replace(DECLARED, ""))
    assert "the project has no mounts" in wardian("mount", "setup", cwd=project, code=2).err
    assert json.loads(wardian("mount", "show", "--json", cwd=project).out) == {}


def test_a_dev_container_has_it_where_the_images_own_python_looks(wardian: Wardian, tmp_path: Path, home: Path) -> None:
    """An image that Wardian did not make says in no label where its packages are: its files do."""
    site = "opt/conda/lib/python3.10/site-packages"
    labels = {"dev.wardian.lock": lock_digest(LOCKED), "dev.wardian.image": "train"}
    add_image(
        Store(home / "store"), "demo/train:latest", [layer({f"{site}/rsl_rl/x.py": b""})], config={"Labels": labels}
    )
    project = make_project(tmp_path / "foreign")
    with (project / "wardian.toml").open("a") as file:
        file.write('[mounts.rsl_rl]\nsource = "~/dev/rsl_rl"\ntarget = "@site-packages/rsl_rl"\n')
        file.write('[mounts.odd]\nsource = "~odd/x"\ntarget = "/x//y"\nread-only = true\n')
    body = wardian("render", "devcontainer", "--json", cwd=project).json()["content"]
    assert body["mounts"] == [
        f"type=bind,source=${{localEnv:HOME}}/dev/rsl_rl,target=/{site}/rsl_rl",
        "type=bind,source=${localWorkspaceFolder}/~odd/x,target=/x/y,readonly",
    ]

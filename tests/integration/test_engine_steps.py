"""Builds whose system steps an engine executes: the same image as from the sandbox, and nothing left behind."""

import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines import Engine
from tests.integration.builds import Place, on_busybox

Need = Callable[..., None]
Wardian = Callable[..., Any]
PROJECT = """\
[project]
name = "demo"

[images.train]
from = "base/base:latest"
apt = ["tree"]
requirements = ["tabulate==0.9.0", "toolz==1.0.0"]
run = ["python -c 'import tabulate; print(tabulate.__version__)' >/version && tree --version >>/version"]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "wardian.toml").write_text(PROJECT)
    return folder


@pytest.mark.usefixtures("docker", "podman")
def test_an_image_is_the_same_whichever_engine_made_its_system_part(
    wardian: Wardian, with_base: Path, project: Path
) -> None:
    wardian("lock", cwd=project)
    found = {}
    for engine in ("sandbox", "docker", "podman"):
        said = wardian("build", "--json", "--no-cache", "--engine", engine, cwd=project).json()
        found[engine] = said["train"]
        assert len(said["train"]["layers"]["new"]) >= 4, "each made all of it again"

    layers = [blobs(with_base, found[engine]["digest"]) for engine in found]
    assert layers[0] == layers[1] == layers[2]
    assert len({one["digest"] for one in found.values()}) == 1


def blobs(store: Path, digest: str) -> list[str]:
    manifest = json.loads((store / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_text())
    return [layer["digest"] for layer in manifest["layers"]]


@pytest.fixture(params=["docker", "docker_containerd", "podman"])
def place(request: pytest.FixtureRequest, tmp_path: Path, need: Need, engine: Callable[[str], Engine]) -> Place:
    """A project whose steps an engine executes."""
    need("bwrap", "busybox")
    found = engine(request.param)
    return Place(
        tmp_path / "a, 'place' ü", environ={**found.env, "WARDIAN_BUILD__ENGINE": request.param.partition("_")[0]}
    )


def images(place: Place) -> str:
    program = place.environ["WARDIAN_BUILD__ENGINE"]
    return subprocess.run(
        [program, "images", "--format", "{{.Repository}}"], env=place.env(), capture_output=True, text=True, check=True
    ).stdout


def read(place: Place, digest: str, name: str, at: int = 1) -> str:
    with tarfile.open(place.store.path(place.store.manifest(digest).layers[at].digest)) as archive:
        file = archive.extractfile(name)
        assert file
        return file.read().decode()


def test_steps_see_what_they_see_in_the_sandbox(place: Place) -> None:
    lines = ["env | sort >/env; umask >/umask; id -u >/id", "true", "rm -r /root && mkdir /root && echo 1 >/root/new"]
    on_busybox(place, lines, 'env = { A = "a b", QUOTED = "it\'s $x" }\nworkdir = "/srv/here"')
    by_engine = place.build()["train"]["digest"]
    ours = Place(place.folder).build("--no-cache", "--engine", "sandbox")["train"]["digest"]

    for name in ("env", "umask", "id"):
        assert read(place, by_engine, name) == read(place, ours, name)
    assert place.members(by_engine, 2) == {}
    assert place.members(by_engine, 1).keys() == place.members(ours, 1).keys()
    assert "root/new" in place.members(by_engine, 3)


def test_a_failing_step_is_told_whole_and_nothing_is_left(place: Place) -> None:
    on_busybox(place, ["echo 1 >/one", "echo before; echo the reason >&2; exit 7"])

    said = place.run("build", code=1).stderr

    assert "image train, run 2 (echo before; echo the reason >&2; exit 7): exited with 7" in said
    assert "the reason" in said
    assert "Dockerfile" not in said
    assert place.store.resolve("demo/train:latest") is None
    assert list(place.store.scratch.iterdir()) == []
    assert "wardian-step" not in images(place)


def test_what_the_machine_lends_reaches_a_step_and_not_the_image(place: Place, tmp_path: Path) -> None:
    bundle = tmp_path / "ca bundle.crt"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nthe bundle\n-----END CERTIFICATE-----\n")
    links = tmp_path / "wheels of mine"
    links.mkdir()
    (links / "thing-1.0-py3-none-any.whl").write_text("x")
    environ = {
        "SSL_CERT_FILE": str(bundle),
        "HTTPS_PROXY": "http://user:password@proxy.lab:3128",
        "PIP_FIND_LINKS": links.as_uri(),
    }
    line = 'test "${HTTPS_PROXY#*@}" = proxy.lab:3128 && grep -q "the bundle" "$PIP_CERT"'
    reached = Place(place.folder, place.person, {**place.environ, **environ})
    on_busybox(reached, [f'{line} && ls "${{PIP_FIND_LINKS#file://}}" >/seen && test -s /etc/resolv.conf'])

    said = reached.run("build", "--json", "--verbose")

    found = json.loads(said.stdout)["train"]["digest"]
    assert read(place, found, "seen") == "thing-1.0-py3-none-any.whl\n"
    assert [name for name, member in place.members(found, 1).items() if not member.isdir()] == ["seen"]
    assert "password" not in said.stderr
    assert "password" not in place.store.path(found).read_text() + json.dumps(place.store.config(found))
    assert "wardian-step" not in images(place)


def test_a_daemon_that_does_not_answer_is_named(docker: Engine, need: Need, tmp_path: Path) -> None:
    need("bwrap", "busybox")
    place = Place(tmp_path, environ={**docker.env, "WARDIAN_BUILD__ENGINE": "docker"})
    on_busybox(place, ["true"])
    nobody = Place(place.folder, place.person, {**place.environ, "DOCKER_HOST": f"unix://{place.folder}/none"})

    said = nobody.run("build", code=1).stderr

    assert "docker cannot build here: " in said
    assert "--engine sandbox" in said


def test_a_program_that_is_not_there_is_named(place: Place, tmp_path: Path) -> None:
    on_busybox(place, ["true"])
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "env", "id", "git", "unshare", "setpriv", "bwrap"):
        if path := shutil.which(program):
            (folder / program).symlink_to(path)
    alone = Place(place.folder, place.person, {**place.environ, "PATH": str(folder)})

    said = alone.run("build", code=1).stderr

    assert f"{place.environ['WARDIAN_BUILD__ENGINE']} is not on this machine" in said

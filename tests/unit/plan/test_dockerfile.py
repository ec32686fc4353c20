"""A Dockerfile of spec and lock: each instruction, and what a Dockerfile's syntax would do to it."""

import json
import re
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.builders.ignore import Ignore, _regex
from wardian.errors import WardianError
from wardian.lock.model import Base, Built, Deb, LockedImage, Tool
from wardian.lock.wheel import Wheel
from wardian.plan.dockerfile import Rendered, Stage, copy, dockerfile, quoted, requirements, run, stage_name
from wardian.spec.matrix import Variant
from wardian.spec.models import Image

SHA = "0" * 64
DIGEST = f"sha256:{'a' * 64}"
FOREIGN = Base(reference="python:3.11", digest=DIGEST)


def deb(name: str, version: str = "1.0-1") -> Deb:
    return Deb(
        name=name, version=version, architecture="amd64", url=f"http://deb.debian.org/{name}", sha256=SHA, size=1
    )


def wheel(name: str, version: str = "1.0", url: str = "https://files.pythonhosted.org/x.whl", **more: Any) -> Wheel:
    return Wheel(name, version, f"{name}-{version}-py3-none-any.whl", url, SHA, **more)


def stage(
    name: str = "train",
    image: dict[str, Any] | None = None,
    locked: dict[str, Any] | None = None,
    wheels: tuple[Wheel, ...] = (),
    parent: str | None = None,
) -> Stage:
    spec = Image.model_validate({"from": f"@{parent}" if parent else "python:3.11", **(image or {})})
    lock = LockedImage.model_validate({"inputs": SHA, "base": None if parent else FOREIGN, **(locked or {})})
    return Stage(Variant(name, name.partition("[")[0], (), parent, spec), lock, wheels)


PYTHON = {"python": "3.11", "interpreter": "/usr/local/bin/python3.11"}
DEBIAN = {"python": "3.11", "interpreter": "/usr/bin/python3.11"}


def rendered(*stages: Stage, beside: str = "") -> Rendered:
    found = dockerfile(stages, name="demo", beside=beside)
    parse(found.text)
    return found


def parse(text: str) -> list[tuple[str, str]]:
    """The instructions, as docker's parser splits them. Source: Dockerfile reference, «Format», «Escape»."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r" *\\\n *", " ", "\n".join(lines) + "\n")
    found = []
    for line in joined.splitlines():
        if line.strip():
            instruction, _, rest = line.partition(" ")
            assert instruction in {"FROM", "RUN", "COPY", "ENV", "LABEL", "WORKDIR", "ENTRYPOINT", "CMD"}, line
            found.append((instruction, rest.strip()))
    assert found[0][0] == "FROM"
    return found


def test_a_base_is_named_by_its_digest() -> None:
    assert parse(rendered(stage()).text) == [("FROM", f"python:3.11@{DIGEST} AS train")]
    other = Base(reference="python:3.11", substitute="http://mirror:5000/python:3.11", digest=DIGEST)
    found = rendered(stage(locked={"base": other}))
    assert parse(found.text) == [("FROM", f"mirror:5000/python:3.11@{DIGEST} AS train")]
    assert "stands in for python:3.11" in found.text
    arm = rendered(stage(image={"platform": "linux/arm64"}))
    assert parse(arm.text)[0][1] == f"--platform=linux/arm64 python:3.11@{DIGEST} AS train"


def test_there_is_no_syntax_line() -> None:
    assert "syntax=" not in rendered(stage()).text


def test_a_bootstrapped_base_is_brought_to_the_locked_versions_and_says_what_differs() -> None:
    base = Base(reference="bootstrap:debian:bookworm", debs=(deb("libc6", "2.36-9"), deb("apt", "2.6.1")))
    found = rendered(stage(locked={"base": base}))
    first, second = parse(found.text)
    assert first == ("FROM", "debian:bookworm-slim AS train")
    assert second[0] == "RUN"
    assert " && apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y" in second[1]
    assert "--allow-downgrades apt=2.6.1 libc6=2.36-9 && rm" in second[1]
    assert "Wardian makes the base from 2 locked packages" in found.text
    assert "snapshot.debian.org" in found.text
    ubuntu = Base(reference="bootstrap:ubuntu:jammy", debs=(deb("apt"),))
    assert parse(rendered(stage(locked={"base": ubuntu})).text)[0] == ("FROM", "ubuntu:jammy AS train")


def test_packages_are_exact_and_sorted() -> None:
    found = parse(rendered(stage(locked={"debs": (deb("git", "1:2.39.5-0+deb12u2"), deb("curl"))})).text)
    words = shlex.split(found[1][1])
    assert words[words.index("--no-install-recommends") + 1 :][:2] == ["curl=1.0-1", "git=1:2.39.5-0+deb12u2"]


def test_wheels_are_hashed_and_pip_does_not_stay() -> None:
    found = rendered(
        stage(locked=DEBIAN, wheels=(wheel("numpy", "2.0"), wheel("torch", "2.4+cpu", "https://t.org/torch.whl")))
    )
    assert found.files == {
        "requirements.train.txt": (
            f"numpy==2.0 \\\n    --hash=sha256:{SHA}\ntorch @ https://t.org/torch.whl \\\n    --hash=sha256:{SHA}\n"
        )
    }
    steps = parse(found.text)
    assert steps[1:3] == [
        ("RUN", "/usr/bin/python3.11 -m venv --without-pip /opt/env"),
        ("ENV", "VIRTUAL_ENV=/opt/env PATH=/opt/env/bin:$PATH"),
    ]
    assert steps[3] == ("COPY", "requirements.train.txt /build/requirements.train.txt")
    install = steps[4][1]
    assert "apt-get install -y --no-install-recommends python3.11-venv" in install
    assert "--no-deps --no-compile --require-hashes -r /build/requirements.train.txt" in install
    assert install.endswith("rm -rf /build")
    other = rendered(stage(locked=PYTHON, wheels=(wheel("numpy"),)))
    assert "apt-get" not in other.text


def test_a_child_adds_what_its_parent_lacks() -> None:
    base = stage("base", locked=PYTHON, wheels=(wheel("numpy"),))
    child = stage("dev", locked=PYTHON, wheels=(wheel("numpy"), wheel("pytest")), parent="base")
    found = rendered(base, child)
    steps = parse(found.text)
    assert ("FROM", "base AS dev") in steps
    assert found.files["requirements.dev.txt"].startswith("pytest==1.0 ")
    assert "numpy" not in found.files["requirements.dev.txt"]
    assert sum("venv --without-pip" in text for _, text in steps) == 1
    bare = rendered(base, stage("same", locked=PYTHON, wheels=(wheel("numpy"),), parent="base"))
    assert parse(bare.text)[-1] == ("FROM", "base AS same")


def test_what_a_foreign_base_has_is_not_installed_again() -> None:
    locked = {**PYTHON, "inherited": ("numpy==1.0",)}
    found = rendered(stage(locked=locked, wheels=(wheel("numpy"), wheel("pandas"))))
    assert "venv --without-pip" not in found.text
    assert found.files["requirements.train.txt"].startswith("pandas==1.0 ")


def test_a_distribution_without_a_wheel_is_built_in_a_stage_of_its_own() -> None:
    tool = Tool(name="setuptools", version="70.0", filename="s.whl", sha256=SHA)
    built = Built(
        name="puffer-lib", version="3.0", sdist_url="https://x.org/p.tar.gz", sdist_sha256=SHA, filename="p.whl",
        sha256=SHA, build=(tool,), debs=(deb("g++"),),
    )  # fmt: skip
    image = {"sdists": {"puffer_lib": {"env": {"NO_OCEAN": "1 2"}}}}
    wheels = (wheel("numpy"), wheel("puffer-lib", "3.0", "", built=built))
    found = rendered(stage(image=image, locked={**DEBIAN, "debs": (deb("git"),), "built": (built,)}, wheels=wheels))
    steps = parse(found.text)
    assert [text for name, text in steps if name == "FROM"] == [
        f"python:3.11@{DIGEST} AS train-system",
        "train-system AS build-puffer-lib",
        "train-system AS train",
    ]
    assert ("ENV", 'NO_OCEAN="1 2"') in steps
    assert ("COPY", "--from=build-puffer-lib /wheels /build/wheels") in steps
    assert found.files["build-puffer-lib.txt"] == f"setuptools==70.0 \\\n    --hash=sha256:{SHA}\n"
    assert found.files["build-puffer-lib.source.txt"].startswith("puffer-lib @ https://x.org/p.tar.gz ")
    assert "puffer-lib" not in found.files["requirements.train.txt"]
    assert any("--no-build-isolation" in text and "PATH=/build/pip/bin:$PATH" in text for _, text in steps)
    assert any("install" in text and "/build/wheels/*.whl" in text for _, text in steps)


def test_the_user_s_words_come_in_the_order_of_the_layers() -> None:
    image = {
        "env": {"B": 'say "$HOME"', "A": "1"},
        "workdir": "/work dir",
        "run": ["echo hi", "echo one\necho two"],
        "copy": [{"source": "configs", "target": "/c"}, {"source": "a b", "target": "/a b"}],
        "labels": {"org.x": "y"},
        "entrypoint": ["python", "-m", "x y"],
        "command": ["--fast"],
    }
    assert parse(rendered(stage(image=image)).text)[1:] == [
        ("ENV", 'A="1"'),
        ("ENV", r'B="say \"\$HOME\""'),
        ("WORKDIR", "/work dir"),
        ("RUN", "echo hi"),
        ("RUN", json.dumps(["/bin/sh", "-c", "echo one\necho two"])),
        ("COPY", "configs /c"),
        ("COPY", '["a b", "/a b"]'),
        ("LABEL", '"org.x"="y"'),
        ("ENTRYPOINT", '["python", "-m", "x y"]'),
        ("CMD", '["--fast"]'),
    ]


@pytest.mark.parametrize("mode", ["wheel", "editable"])
def test_the_project_is_installed(mode: str) -> None:
    steps = parse(rendered(stage(image={"project": mode}, locked=PYTHON)).text)
    place = "/workspace" if mode == "editable" else "/build/project"
    assert ("COPY", f". {place}") in steps
    assert ("-e /workspace" in steps[-1][1]) is (mode == "editable")


def test_the_projects_wheel_is_built_with_the_locked_tools_alone() -> None:
    tool = {"name": "hatchling", "version": "1.2", "filename": "hatchling-1.2-py3-none-any.whl", "sha256": SHA}
    found = rendered(stage(image={"project": "wheel"}, locked={**PYTHON, "build": [tool]}))
    assert found.files["project.train.txt"].startswith("hatchling==1.2")
    assert f"--hash=sha256:{SHA}" in found.files["project.train.txt"]
    steps = parse(found.text)[-1][1]
    assert "install --no-cache-dir --no-deps --require-hashes -r /build/project.train.txt" in steps
    assert "wheel --no-deps --no-build-isolation -w /build/made /build/project" in steps
    nothing = rendered(stage(image={"project": "wheel"}, locked=PYTHON))
    assert "--require-hashes" not in nothing.text


def test_files_lie_beside_the_dockerfile() -> None:
    found = rendered(stage(locked=PYTHON, wheels=(wheel("numpy"),)), beside="docker/train")
    assert ("COPY", "docker/train/requirements.train.txt /build/requirements.train.txt") in parse(found.text)
    assert "docker build -f docker/train/Dockerfile -t demo/train ." in found.text
    spaced = rendered(stage(), beside="my docker")
    assert "docker build -f 'my docker/Dockerfile' -t demo/train ." in spaced.text


def test_a_lock_without_a_base_is_refused() -> None:
    with pytest.raises(WardianError, match="no base for image train"):
        rendered(stage(locked={"base": None}))


@pytest.mark.parametrize(
    ("variant", "name"),
    [("train", "train"), ("train[python=3.11,cuda=12.4.1]", "train-python-3.11-cuda-12.4.1"), ("3d", "image-3d")],
)
def test_stages_have_names_that_docker_takes(variant: str, name: str) -> None:
    assert stage_name(variant) == name
    assert re.fullmatch(r"[a-z][a-z0-9-_.]*", name)


@pytest.mark.parametrize(
    "line", ["[ -f x ] && y", "--mount=x y", "cat <<EOF\nx\nEOF", "x \\", "# only a comment", "a\nb"]
)
def test_lines_that_a_dockerfile_would_read_otherwise_are_in_exec_form(line: str) -> None:
    instruction = run(line)
    assert instruction.startswith('RUN ["/bin/sh", "-c", ')
    assert json.loads(instruction[4:]) == ["/bin/sh", "-c", line]


def unquoted(value: str) -> str:
    """What docker makes of a double-quoted value. Source: buildkit's shell lexer, processDoubleQuote."""
    assert value[0] == value[-1] == '"'
    return re.sub(r'\\(["\\$])', r"\1", value[1:-1])


@given(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=40))
def test_values_survive_the_quotes(value: str) -> None:
    written = quoted(value)
    assert unquoted(written) == value
    assert not re.search(r'(?<!\\)(?:\\\\)*[$"]', written[1:-1])


def test_a_value_with_a_line_break_is_refused() -> None:
    with pytest.raises(WardianError, match="line break"):
        quoted("a\nb")


@given(st.text(" $\\[]*?!^-a/é", min_size=1, max_size=12))
def test_a_name_is_copied_whatever_docker_would_read_in_it(name: str) -> None:
    """Source: Dockerfile reference, COPY: the shell's lexer first, then Go's filepath.Match."""
    rest = copy(name, "/b").removeprefix("COPY ")
    source, target = json.loads(rest) if rest.startswith('["') else rest.split(" ")
    pattern = re.sub(r"\\(.)", r"\1", source)
    assert not re.search(r"(?<!\\)(?:\\\\)*\$", source)
    assert re.fullmatch(_regex(pattern), name)
    assert target == "/b"


def test_what_wardian_never_takes_is_kept_from_docker_too() -> None:
    found = dockerfile([stage(image={"project": "wheel"}, locked=PYTHON)], name="demo", ignore="data\n!data/.env\n")
    rules = Ignore.parse(found.files["Dockerfile.dockerignore"])
    for path in (".env", "a/.env.local", "data/x", "data/.env", ".git", "a/id_rsa", "k.pem", "wardian.local.toml"):
        assert rules.ignores(path), path
    assert not rules.ignores("src/demo/env.py")
    assert "Dockerfile.dockerignore" not in rendered(stage(locked=PYTHON)).files


def test_a_path_of_the_user_keeps_the_environment_in_front() -> None:
    steps = parse(rendered(stage(image={"env": {"PATH": "/opt/x/bin:/bin"}}, locked=PYTHON)).text)
    assert ("ENV", 'PATH="/opt/env/bin:/opt/x/bin:/bin"') in steps
    assert ("ENV", 'PATH="/opt/x/bin"') in parse(rendered(stage(image={"env": {"PATH": "/opt/x/bin"}})).text)


def test_what_a_dockerfile_cannot_do_is_said() -> None:
    assert "copy your own" in rendered(stage(image={"ca": True})).text


def test_a_wheel_without_an_address_is_named_by_its_version() -> None:
    assert requirements([wheel("a", "1", "file:///opt/a.whl"), wheel("b", "2", "")]).count("==") == 2

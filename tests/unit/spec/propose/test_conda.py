"""conda's packages and versions in PyPI's and Debian's words."""

import pytest
from packaging.requirements import Requirement

from wardian.spec.propose.conda import add_environment
from wardian.spec.propose.draft import Draft
from wardian.spec.propose.names import APT, BESIDE, PYPI, SAME


def read(*entries: str) -> Draft:
    draft = Draft(name="x")
    add_environment(draft, "environment.yml", "dependencies:\n" + "".join(f'  - "{entry}"\n' for entry in entries))
    return draft


@pytest.mark.parametrize(
    ("entry", "requirement"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy==1.26.*"),
        ("numpy=1.26.*", "numpy==1.26.*"),
        ("numpy==1.26", "numpy==1.26"),
        ("numpy=1.26.4", "numpy==1.26.4"),
        ("numpy=1.26.4=py310h_0", "numpy==1.26.4"),
        ("numpy =1.26", "numpy==1.26.*"),
        ("numpy>=1.2", "numpy>=1.2"),
        ("numpy >=1.2, <2", "numpy>=1.2,<2"),
        ("numpy 1.26.4", "numpy==1.26.4"),
        ("numpy 1.26.*", "numpy==1.26.*"),
        ("numpy=*", None),
        ("conda-forge::numpy=2", "numpy==2.*"),
        ("NumPy", "numpy"),
        ("pytorch=2.1", "torch==2.1.*"),
        ("matplotlib-base", "matplotlib"),
        ("opencv", "opencv-python-headless"),
        ("ray-rllib>=2", "ray[rllib]>=2"),
        ("scipy>=1|<0.5", None),
        ("unknown-thing", None),
        ("numpy[version='>=1']", None),
    ],
)
def test_packages(entry: str, requirement: str | None) -> None:
    draft = read(entry)
    assert draft.requirements == ([requirement] if requirement else [])
    if requirement:
        Requirement(requirement)
        assert not draft.left
    else:
        assert draft.left == [f"environment.yml: {entry}"]
        assert entry in draft.notes[0]


@pytest.mark.parametrize(
    ("entry", "python", "requires"),
    [
        ("python=3.10", "3.10", None),
        ("python==3.10.4", "3.10", None),
        ("python=3.10.*", "3.10", None),
        ("python>=3.9,<3.12", None, ">=3.9,<3.12"),
        ("python", None, None),
    ],
)
def test_python(entry: str, python: str | None, requires: str | None) -> None:
    draft = read(entry)
    assert (draft.python, draft.requires) == (python, requires)
    assert not draft.left


def test_debian_packages_have_one_version() -> None:
    draft = read("ffmpeg=4.4", "cxx-compiler", "openjdk=17")
    assert draft.apt == ["ffmpeg", "g++", "default-jre-headless"]


def test_libraries_that_come_along_are_not_mentioned() -> None:
    draft = read("libgcc-ng=13", "openssl", "pip", "mkl=2024.0")
    assert (draft.requirements, draft.apt, draft.left) == ([], [], [])


def test_cuda_comes_with_torch() -> None:
    draft = read("pytorch-cuda=12.1", "cudnn=8.9")
    assert not draft.requirements
    assert "https://download.pytorch.org/whl/cu121" in draft.left[0]


def test_the_pip_section() -> None:
    lines = (
        "torch>=2",
        "-r more.txt",
        "--extra-index-url https://x",
        "-e .",
        "--no-deps",
        "-c bounds.txt",
        "-e git+https://x#egg=y",
    )
    text = "dependencies:\n- pip:\n" + "".join(f"  - {line}\n" for line in lines)
    draft = Draft(name="x")
    add_environment(draft, "environment.yml", text)
    assert draft.requirements == ["torch>=2"]
    assert (draft.files, draft.index, draft.project) == (["more.txt"], ["https://x"], "editable")
    assert draft.left == ["pip install -c bounds.txt", "pip: -e git+https://x#egg=y"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "dependencies:",
        "dependencies: x",
        "dependencies: [3, null, [x]]",
        "dependencies: [{pip: x}]",
        "variables: [1]",
        "a: *x",
    ],
)
def test_files_of_another_shape(text: str) -> None:
    add_environment(Draft(name="x"), "environment.yml", text)


def test_what_is_not_yaml_is_said() -> None:
    draft = Draft(name="x")
    add_environment(draft, "environment.yml", "a: [\n")
    assert "not valid YAML" in draft.left[0]


def test_yaml_cannot_run_anything() -> None:
    draft = Draft(name="x")
    add_environment(draft, "environment.yml", "dependencies: !!python/object/apply:os.system ['exit 1']")
    assert "not valid YAML" in draft.left[0]


def test_the_tables_of_names_do_not_contradict_each_other() -> None:
    tables = [set(PYPI), set(SAME), set(APT), set(BESIDE)]
    assert sum(map(len, tables)) == len(set().union(*tables))
    for name in (*PYPI.values(), *SAME):
        Requirement(name)

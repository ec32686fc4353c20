"""Which distributions a project asks for."""

import pytest

from wardian.errors import SpecError
from wardian.lock.requirements import (
    BuildSystem,
    build_system,
    closure,
    distribution,
    included,
    of_pyproject,
    parse,
    requested,
)

FILE = """\ufeff
# a comment
torch==2.13.0        # pinned
numpy>=2 ; python_version < "3.12" \\
   --hash=sha256:abc \\
   --hash=sha256:def
-r more/extra.txt
--requirement=other.txt
-cbounds.txt
--constraint https://example.org/c.txt
--index-url https://u:p@corp/simple
-e .
local @ file:///x#egg=local
"""


def test_a_requirement_file() -> None:
    parsed = parse(FILE)
    assert parsed.requirements == ("torch==2.13.0", 'numpy>=2 ; python_version < "3.12"', "local @ file:///x#egg=local")
    assert parsed.includes == ("more/extra.txt", "other.txt")
    assert parsed.constraints == ("bounds.txt", "https://example.org/c.txt")


def test_a_comment_is_not_continued() -> None:
    assert parse("# old \\\ntorch\n  # also \\\nnumpy\n").requirements == ("torch", "numpy")


def test_included_files_are_relative_to_the_one_that_names_them() -> None:
    assert included("env/req.txt", FILE) == ("env/more/extra.txt", "env/other.txt", "env/bounds.txt")
    assert included("req.txt", "-r ../shared.txt") == ("../shared.txt",)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("torch", "torch"),
        ("Foo.Bar_x>=1", "foo-bar-x"),
        ("a[b,c]~=1", "a"),
        ("a @ https://h/a.whl", "a"),
        ("a; sys_platform == 'linux'", "a"),
        ("a (>=1)", "a"),
        ("./folder", ""),
        ("https://h/a-1-py3-none-any.whl", ""),
        ("a-1-py3-none-any.whl", ""),
        ("", ""),
    ],
)
def test_the_name_in_a_requirement(line: str, name: str) -> None:
    assert distribution(line) == name


def test_files_are_followed_once_in_the_order_they_are_met() -> None:
    texts = {"a.txt": "-r d/b.txt\n-c c.txt\n", "d/b.txt": "-r ../a.txt\n-r c.txt\n-r https://x/y.txt\n"}
    assert closure(["a.txt", "a.txt"], texts) == ("a.txt", "d/b.txt", "c.txt", "d/c.txt")
    assert closure(["a.txt"], texts, constraints=False) == ("a.txt", "d/b.txt", "d/c.txt")


def test_what_is_asked_for_by_name() -> None:
    texts = {"a.txt": "X_y\n-r b.txt\n-c c.txt\n", "b.txt": "z\n-r a.txt\n", "c.txt": "bound==1\n"}
    assert requested(["torch==1"], ["a.txt", "gone.txt"], texts) == {"torch", "x-y", "z"}


PYPROJECT = """
[project]
name = "My.Project"
version = "1"
dependencies = ["numpy", "torch>=2"]
[project.optional-dependencies]
dev = ["pytest", "my-project[docs]"]
docs = ["sphinx"]
Loop_A = ["my_project[loop-a]", "x"]
[dependency-groups]
test = ["pytest>=8", { include-group = "lint" }]
lint = ["ruff"]
bad = [{ include-group = "gone" }]
round = [{ include-group = "round" }]
"""


@pytest.mark.parametrize(
    ("groups", "extras", "project", "found"),
    [
        ([], [], False, ()),
        ([], [], True, ("numpy", "torch>=2")),
        ([], [""], False, ("numpy", "torch>=2")),
        ([], ["docs"], False, ("numpy", "sphinx", "torch>=2")),
        ([], ["DEV"], False, ("numpy", "pytest", "sphinx", "torch>=2")),
        ([], ["loop-a"], False, ("numpy", "torch>=2", "x")),
        (["test"], [], False, ("pytest>=8", "ruff")),
        (["lint", "test"], [""], False, ("numpy", "pytest>=8", "ruff", "torch>=2")),
    ],
)
def test_pyproject(groups: list[str], extras: list[str], *, project: bool, found: tuple[str, ...]) -> None:
    assert of_pyproject(PYPROJECT, groups=groups, extras=extras, project=project) == found


@pytest.mark.parametrize(
    ("groups", "extras", "said", "hint"),
    [
        (["tset"], [], "dependency-groups.tset: there is no such group", "did you mean 'test'?"),
        (["bad"], [], "dependency-groups.bad: ", None),
        (["round"], [], "dependency-groups.round: ", None),
        ([], ["doc"], "project.optional-dependencies.doc: there is no such extra", "did you mean 'docs'?"),
    ],
)
def test_what_is_not_there(groups: list[str], extras: list[str], said: str, hint: str | None) -> None:
    with pytest.raises(SpecError) as caught:
        of_pyproject(PYPROJECT, groups=groups, extras=extras, project=False)
    assert caught.value.message.startswith(f"pyproject.toml: {said}")
    assert caught.value.faults[0].hint == hint


def test_every_missing_group_is_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        of_pyproject(PYPROJECT, groups=["one", "two"], extras=[], project=False)
    assert len(caught.value.faults) == 2


def test_dependencies_that_only_a_build_tells() -> None:
    text = '[project]\nname = "x"\ndynamic = ["dependencies"]\n'
    with pytest.raises(SpecError, match=r"project\.dependencies: is dynamic"):
        of_pyproject(text, groups=[], extras=[""], project=False)


def test_extras_that_only_a_build_tells_matter_when_they_are_asked_for() -> None:
    text = '[project]\nname = "x"\ndependencies = ["a"]\ndynamic = ["optional-dependencies"]\n'
    assert of_pyproject(text, groups=[], extras=[""], project=True) == ("a",)
    with pytest.raises(SpecError, match=r"project\.optional-dependencies: is dynamic"):
        of_pyproject(text, groups=[], extras=["dev"], project=False)


def test_extras_without_a_project() -> None:
    with pytest.raises(SpecError, match="extras of it are asked for"):
        of_pyproject("", groups=[], extras=["x"], project=False)
    assert of_pyproject("", groups=[], extras=[], project=True) == ()


def test_a_broken_pyproject() -> None:
    with pytest.raises(SpecError, match=r"pyproject\.toml: not TOML"):
        of_pyproject("[", groups=[], extras=[], project=True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", BuildSystem()),
        ("[build-system]\n", BuildSystem()),
        ('[build-system]\nrequires = ["wheel"]\n', BuildSystem(("wheel",))),
        (
            '[build-system]\nrequires = []\nbuild-backend = "own:Class.it"\nbackend-path = ["a", "."]\n',
            BuildSystem((), "own:Class.it", ("a", ".")),
        ),
    ],
)
def test_what_builds_a_tree(text: str, found: BuildSystem) -> None:
    assert build_system(text) == found


@pytest.mark.parametrize("line", ['requires = "wheel"', "requires = [1]", "build-backend = []", 'backend-path = "."'])
def test_a_build_system_that_is_none(line: str) -> None:
    with pytest.raises(SpecError, match=r"x/pyproject\.toml: build-system: requires and backend-path are lists"):
        build_system(f"[build-system]\n{line}\n", "x/pyproject.toml")
    with pytest.raises(SpecError, match="not TOML"):
        build_system("[")

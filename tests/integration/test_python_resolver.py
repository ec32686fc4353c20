"""uv over small indexes of our own: what is pinned, for which platform, and how refusals read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.indexes import PASSWORD, USER, Index, make_sdist, make_wheel, serve
from wardian.errors import Unavailable, WardianError
from wardian.hosts.local import LocalHost
from wardian.hosts.machine import Machine
from wardian.lock.pylock import Pinned, Target, read, write
from wardian.resolvers.python import Static, Uv, Wanted, configuration, resolve

TARGET = Target("3.11", "linux/amd64", 36)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "served"
    folder.mkdir()
    make_wheel(folder, "alpha", "1.0", requires=["beta>=1"])
    make_wheel(folder, "alpha", "2.0", requires=["beta>=2"])
    make_wheel(folder, "beta", "1.0")
    make_wheel(folder, "beta", "2.0")
    with serve(Index(folder)) as served:
        yield served


@pytest.fixture
def uv(tmp_path: Path, index: Index) -> Uv:
    return of(tmp_path, Machine(index=index.simple))


def of(tmp_path: Path, machine: Machine, **values: object) -> Uv:
    for name in ("project", "scratch"):
        (tmp_path / name).mkdir(exist_ok=True)
    return Uv(LocalHost(), machine, tmp_path / "project", tmp_path / "scratch", tmp_path / "cache", **values)  # type: ignore[arg-type]


def asked(*requirements: str, **values: object) -> Wanted:
    return Wanted("train", TARGET, requirements, **values)  # type: ignore[arg-type]


def versions(pins: tuple[Pinned, ...]) -> dict[str, str]:
    return {one.name: one.version for one in pins}


def test_the_closure_is_pinned_with_hashes(uv: Uv, index: Index) -> None:
    found = resolve(asked("alpha", requested=frozenset({"alpha"})), uv)
    assert versions(found) == {"alpha": "2.0", "beta": "2.0"}
    assert [one.requested for one in found] == [True, False]
    assert all(len(one.sha256) == 64 and one.url.startswith(f"{index.url}/files/") for one in found)


def test_versions_stay_until_they_are_upgraded(uv: Uv) -> None:
    previous = write(resolve(asked("alpha<2", "beta<2"), uv), TARGET)
    assert versions(resolve(asked("alpha"), uv, previous=previous)) == {"alpha": "1.0", "beta": "1.0"}
    moved = resolve(asked("alpha"), uv, previous=previous, upgrade=frozenset({"beta"}))
    assert versions(moved) == {"alpha": "1.0", "beta": "2.0"}
    assert versions(resolve(asked("alpha"), uv, previous=previous, upgrade=None)) == {"alpha": "2.0", "beta": "2.0"}


def test_an_index_is_asked_once_in_ten_minutes_save_for_what_moves(uv: Uv, index: Index) -> None:
    previous = write(resolve(asked("alpha"), uv), TARGET)
    requests = len(index.authorizations)
    assert versions(resolve(asked("alpha"), uv, previous=previous)) == {"alpha": "2.0", "beta": "2.0"}
    assert len(index.authorizations) == requests
    make_wheel(index.folder, "beta", "3.0")
    moved = resolve(asked("alpha"), uv, previous=previous, upgrade=frozenset({"beta"}))
    assert versions(moved) == {"alpha": "2.0", "beta": "3.0"}
    make_wheel(index.folder, "alpha", "4.0")
    assert versions(resolve(asked("alpha"), uv, previous=previous, upgrade=None)) == {"alpha": "4.0"}


def test_an_index_is_asked_again_before_one_says_that_there_is_no_answer(uv: Uv, index: Index) -> None:
    resolve(asked("beta"), uv)
    make_wheel(index.folder, "beta", "3.0")
    assert versions(resolve(asked("beta>=3"), uv)) == {"beta": "3.0"}
    with pytest.raises(WardianError, match="cannot be met"):
        resolve(asked("beta>=4"), uv)


def test_requirement_files_and_what_they_include(uv: Uv) -> None:
    (uv.project / "r.txt").write_text("-r more/r.txt\n")
    (uv.project / "more").mkdir()
    (uv.project / "more" / "r.txt").write_text("-c c.txt\nalpha\n")
    (uv.project / "more" / "c.txt").write_text("alpha<2\n")
    assert versions(resolve(asked(files=("r.txt",)), uv))["alpha"] == "1.0"


def test_the_wheel_of_the_target_not_of_this_machine(uv: Uv, index: Index) -> None:
    for tag in ("cp39-cp39-manylinux_2_17_aarch64", "cp39-cp39-manylinux_2_17_x86_64", "cp39-cp39-win_amd64"):
        make_wheel(index.folder, "gamma", "1.0", tag=tag)
    found = resolve(Wanted("train", Target("3.9", "linux/arm64", 31), ("gamma",)), uv)
    assert found[0].filename == "gamma-1.0-cp39-cp39-manylinux_2_17_aarch64.whl"


def test_a_wheel_for_another_platform_alone(uv: Uv, index: Index) -> None:
    make_wheel(index.folder, "gamma", "1.0", tag="cp311-cp311-win_amd64")
    with pytest.raises(WardianError, match=r"train: the requirements cannot be met: .*gamma.*platform tag"):
        resolve(asked("gamma"), uv)


def test_markers_count_for_the_target(uv: Uv) -> None:
    lines = ("beta; sys_platform == 'linux' and python_version == '3.11'", "alpha; python_version < '3'")
    assert versions(resolve(asked(*lines), uv)) == {"beta": "2.0"}


def test_a_source_distribution_alone(uv: Uv, index: Index) -> None:
    make_sdist(index.folder, "delta", "1.0", {"pyproject.toml": "[project]\nname = 'delta'\nversion = '1.0'\n"})
    assert resolve(asked("delta"), uv)[0].kind == "sdist"


def test_a_source_distribution_because_it_is_asked_for(uv: Uv, index: Index) -> None:
    make_sdist(index.folder, "beta", "2.0", {})
    assert resolve(asked("beta"), uv)[0].kind == "wheel"
    found = resolve(asked("beta", from_source=frozenset({"beta"})), uv)
    assert (found[0].kind, found[0].filename) == ("sdist", "beta-2.0.tar.gz")


BACKEND = """
open({mark!r}, "w").write("was here")

def build_wheel(folder, config_settings=None, metadata_directory=None):
    raise SystemExit("never")
"""


def hostile(index: Index, mark: Path, pyproject: str) -> None:
    """A newer release of ``beta`` that tells what it requires only when its code runs."""
    files = {"PKG-INFO": "Metadata-Version: 1.0\nName: beta\nVersion: 3.0\n", "pyproject.toml": pyproject}
    code = BACKEND.format(mark=str(mark))
    make_sdist(index.folder, "beta", "3.0", {**files, "backend.py": code, "setup.py": code})


@pytest.mark.parametrize("kind", ["in its own tree", "setup.py", "not isolated", "no cache"])
def test_nothing_is_built_on_the_host(uv: Uv, index: Index, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Nor is an older release with a wheel taken in silence: who asks is told which one must be asked."""
    mark = uv.project / "MARK"
    own = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    hostile(index, mark, "" if kind == "setup.py" else own)
    if kind == "not isolated":
        monkeypatch.setenv("UV_NO_BUILD_ISOLATION", "1")
    if kind == "no cache":
        monkeypatch.setenv("UV_NO_CACHE", "1")
    for cache in ("builds-v0", "builds-v1"):
        (uv.cache / cache).mkdir(parents=True)
    asked_for: list[tuple[str, str]] = []

    def learn(name: str, place: str) -> Static:
        asked_for.append((name, place))
        return Static(name, place, requires=("gamma",))

    make_wheel(index.folder, "gamma", "1.0")
    assert versions(resolve(asked("alpha"), uv, learn=learn)) == {"alpha": "2.0", "beta": "3.0", "gamma": "1.0"}
    assert asked_for == [("beta", "3.0")]
    with pytest.raises(WardianError, match=r"beta 3\.0 tells what it requires only when it is built"):
        resolve(asked("alpha"), uv)
    assert not mark.exists()


def test_a_requirement_file_that_is_code_is_not_run(uv: Uv, index: Index) -> None:
    (uv.project / "setup.py").write_text(BACKEND.format(mark=str(uv.project / "MARK")))
    with pytest.raises(WardianError, match="a working tree or a repository"):
        resolve(asked(files=("setup.py",)), uv)
    assert not (uv.project / "MARK").exists()


def test_what_is_inherited_stays_as_it_is(uv: Uv) -> None:
    parent = (
        Pinned(
            "beta", "1.0", "wheel", "beta-1.0-py3-none-any.whl", "https://elsewhere/b.whl", "0" * 64, requested=True
        ),
    )
    found = resolve(asked("alpha", inherited=parent, beneath="@base"), uv)
    assert versions(found) == {"alpha": "1.0", "beta": "1.0"}
    assert found[1] == parent[0]


def test_another_version_of_what_is_inherited(uv: Uv) -> None:
    parent = resolve(asked("beta<2"), uv)
    with pytest.raises(WardianError, match=r"train: the requirements do not fit what @base has: .*alpha") as caught:
        resolve(asked("alpha==2.0", inherited=parent, beneath="@base"), uv)
    assert caught.value.hint == "beta 1.0 comes from @base: change it there, or stand on another"


def test_what_is_preferred_binds_without_being_asked_for(uv: Uv) -> None:
    image = (Pinned("beta", "1.0", "wheel", "b", "", "0" * 64), Pinned("zeta", "1.0", "wheel", "z", "", "0" * 64))
    assert versions(resolve(asked("alpha", preferred=image), uv)) == {"alpha": "1.0", "beta": "1.0"}


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        ("alpha==9", "train: the requirements cannot be met: there is no version of alpha==9"),
        ("alpha==2.0", "train: the requirements cannot be met: alpha>=2.0 depends on beta>=2"),
        (
            "nothing-like-it",
            "train: the requirements cannot be met: nothing-like-it was not found in the package registry",
        ),
        ("foo bar", "Couldn't parse requirement"),
    ],
)
def test_refusals_are_one_line(uv: Uv, requirement: str, said: str) -> None:
    with pytest.raises(WardianError, match=said.replace("(", r"\(")) as caught:
        resolve(asked(requirement, "beta<2"), uv)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_an_index_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(Unavailable, match="train: the package index cannot be read"):
        resolve(asked("alpha"), of(tmp_path, Machine(index="http://127.0.0.1:9/simple")))


def test_a_missing_requirement_file(uv: Uv) -> None:
    with pytest.raises(WardianError, match=r"File not found: `?gone\.txt"):
        resolve(asked(files=("gone.txt",)), uv)


def test_the_projects_index_comes_first(uv: Uv, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_wheel(other, "beta", "1.5")
    with serve(Index(other)) as served:
        assert versions(resolve(asked("beta", indexes=(served.simple,)), uv)) == {"beta": "1.5"}


def test_find_links_and_file_indexes_leave_no_trace(index: Index, tmp_path: Path) -> None:
    machine = Machine(no_index=True, find_links=(str(index.folder),))
    found = resolve(asked("alpha"), of(tmp_path, machine))
    assert [one.url for one in found] == ["", ""]
    assert str(tmp_path) not in write(found, TARGET)
    assert read(write(found, TARGET)) == found


def test_find_links_relative_to_the_project(index: Index, tmp_path: Path) -> None:
    uv = of(tmp_path, Machine(no_index=True, find_links=("../served",)))
    assert versions(resolve(asked("beta"), uv)) == {"beta": "2.0"}


@pytest.mark.parametrize("where", ["url", "variables"])
def test_credentials_do_not_reach_the_lock(index: Index, tmp_path: Path, where: str) -> None:
    index.auth = True
    with pytest.raises(WardianError):
        resolve(asked("alpha"), of(tmp_path, Machine(index=index.simple)))
    machine = {
        "url": Machine(index=index.simple.replace("://", f"://{USER}:{PASSWORD}@")),
        "variables": Machine(index=index.simple, credentials=((index.simple, USER, PASSWORD),)),
    }[where]
    text = write(resolve(asked("alpha"), of(tmp_path, machine)), TARGET)
    assert PASSWORD not in text
    assert f"{USER}:" not in text
    assert f'url = "{index.url}/files/alpha-2.0-py3-none-any.whl"' in text


def test_credentials_are_in_no_argv(index: Index, tmp_path: Path) -> None:
    commands: list[str] = []
    index.auth = True
    machine = Machine(index=index.simple.replace("://", f"://{USER}:{PASSWORD}@"))
    uv = of(tmp_path, machine)
    traced = Uv(LocalHost(lambda command: commands.append(str(command))), machine, uv.project, uv.scratch, uv.cache)
    resolve(asked("alpha"), traced)
    assert commands
    assert PASSWORD not in "".join(commands)
    assert (uv.scratch / "uv.toml").stat().st_mode & 0o077 == 0


def test_a_mirror_is_asked_and_not_written(index: Index, tmp_path: Path) -> None:
    uv = of(
        tmp_path,
        Machine(),
        substitute=lambda url: index.simple if url == "https://pypi.org/simple" else None,
        canonical=lambda url: url.replace(index.url, "https://files.example.org"),
    )
    found = resolve(asked("beta"), uv)
    assert found[0].url == "https://files.example.org/files/beta-2.0-py3-none-any.whl"


def test_the_shells_uv_variables_change_nothing(uv: Uv, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_FIND_LINKS"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    assert versions(resolve(asked("beta"), uv)) == {"beta": "2.0"}


def test_an_address_as_a_requirement(uv: Uv, index: Index) -> None:
    found = resolve(asked(f"beta @ {index.url}/files/beta-1.0-py3-none-any.whl"), uv)
    assert (found[0].version, found[0].direct) == ("1.0", True)
    assert resolve(asked("beta", inherited=found, beneath="@base"), uv) == found


@pytest.mark.parametrize("requirement", ["./code", "code @ file:code"])
def test_a_working_tree_is_refused_by_name(uv: Uv, requirement: str) -> None:
    code = uv.project / "code"
    code.mkdir()
    (code / "pyproject.toml").write_text("[project]\nname = 'code'\nversion = '1'\n")
    line = requirement.replace("./code", str(code)).replace("file:code", code.as_uri())
    with pytest.raises(WardianError, match="train: code is a working tree or a repository"):
        resolve(asked(line), uv)


def test_the_configuration_is_toml(tmp_path: Path) -> None:
    import tomllib

    machine = Machine(
        index="https://a/simple",
        extra_indexes=("https://b/simple",),
        find_links=("/w",),
        trusted=("old.example",),
        index_strategy="x",
    )
    data = tomllib.loads(configuration(asked("a", indexes=("https://c/simple",)), of(tmp_path, machine)))
    assert [(one["url"], one.get("default", False)) for one in data["index"]] == [
        ("https://c/simple", False),
        ("https://b/simple", False),
        ("https://a/simple", True),
    ]
    assert (data["find-links"], data["allow-insecure-host"], data["index-strategy"]) == (["/w"], ["old.example"], "x")
    nothing = tomllib.loads(configuration(asked("a"), of(tmp_path, Machine(no_index=True))))
    assert nothing["no-index"] is True
    assert "index" not in nothing

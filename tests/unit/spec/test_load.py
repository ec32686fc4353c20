"""Sources become one validated project; each value knows its source, each fault its line."""

import contextlib
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import Fault, SpecError
from wardian.spec.load import Loaded, Source, load
from wardian.spec.paths import leaves, text
from wardian.spec.sources import Kind

BASE = """\
[project]
name = "x"

[images.train]
from = "debian:bookworm"
"""
ORDER: tuple[Kind, ...] = ("default", "file", "user", "local", "environment", "flag")


def faults(*sources: Source, **variables: str) -> list[Fault]:
    with pytest.raises(SpecError) as caught:
        load(sources, variables)
    assert caught.value.exit_code == 2
    return caught.value.faults


def file(more: str = "") -> Source:
    return Source("wardian.toml", BASE + more)


def only(*sources: Source, **variables: str) -> str:
    found = faults(*sources, **variables)
    assert len(found) == 1, found
    return str(found[0])


def test_the_smallest_file() -> None:
    loaded = load([file()])
    assert loaded.spec.project.name == "x"
    assert loaded.origin == {"project.name": "wardian.toml", "images.train.from": "wardian.toml"}
    assert loaded.lines == {"project.name": 2, "images.train.from": 5}


def test_no_file() -> None:
    with pytest.raises(SpecError, match=r"no wardian\.toml") as caught:
        load([Source("environment", values={}, kind="environment")])
    assert caught.value.hint == "type: wardian init"


def written(kind: Kind, number: int) -> Source:
    if kind == "environment":
        return Source(kind, values={"WARDIAN_RUN__SHM": str(number)}, kind=kind)
    if kind == "flag":
        return Source("--set", f"run.shm={number}", kind=kind)
    if kind == "default":
        return Source(kind, values={"run": {"shm": number}}, kind=kind)
    return Source(kind, (BASE if kind == "file" else "") + f"[run]\nshm = {number}\n", kind=kind)


@given(st.sets(st.sampled_from(ORDER)).map(lambda some: [kind for kind in ORDER if kind in some or kind == "file"]))
def test_the_strongest_source_wins(kinds: list[Kind]) -> None:
    loaded = load([written(kind, number) for number, kind in enumerate(kinds, 1)])
    assert loaded.spec.run.shm == len(kinds)
    names = {"environment": "WARDIAN_RUN__SHM", "flag": "--set"}
    assert loaded.origin["run.shm"] == names.get(kinds[-1], kinds[-1])


def test_the_last_flag_wins() -> None:
    flags = [Source("--set", f"run.shm={size}", kind="flag") for size in ("1g", "2g")]
    assert load([file(), *flags]).spec.run.shm == 2 * 1024**3


def test_lists_are_replaced_and_tables_merged() -> None:
    local = Source("local", '[images.train]\napt = ["git"]\nenv = { B = "2" }\n', kind="local")
    loaded = load([file('apt = ["cmake"]\nenv = { A = "1", B = "1" }\n'), local])
    assert loaded.spec.images["train"].apt == ("git",)
    assert loaded.spec.images["train"].env == {"A": "1", "B": "2"}
    assert loaded.origin["images.train.env.A"] == "wardian.toml"
    assert loaded.origin["images.train.env.B"] == "local"


TABLES = st.recursive(
    st.integers() | st.text("ab", max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), TABLES, max_size=3), min_size=1, max_size=4))
def test_each_merged_value_has_the_source_that_said_it(tables: list[dict[str, Any]]) -> None:
    from wardian.spec.load import _Merged

    merged = _Merged()
    for number, table in enumerate(tables):
        merged.add(Source(str(number), values=table, kind="local"))
    for path, value in leaves(merged.data):
        if not path or value == {}:
            continue
        said = tables[merged.origin[path]]
        for part in path:
            said = said[str(part)]
        assert said == value
        assert merged.origin[path] == max(number for number, table in enumerate(tables) if path in dict(leaves(table)))


@given(st.sets(st.sampled_from("abcdef"), min_size=1))
def test_every_fault_is_told_at_once(wrong: set[str]) -> None:
    lines = {
        "a": 'aptt = ["x"]',
        "b": "python = 3.11",
        "c": 'workdir = "x"',
        "d": 'project = "no"',
        "e": 'apt = ["A"]',
        "f": 'requirements = ["x="]',
    }
    found = faults(file("\n".join(lines[one] for one in sorted(wrong))))
    assert [fault.line for fault in found] == [6 + at for at in range(len(wrong))]
    assert {fault.path.split(".")[2].partition("[")[0] for fault in found} == {lines[one].split()[0] for one in wrong}
    assert {fault.source for fault in found} == {"wardian.toml"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("aptt = 1", "wardian.toml:6: images.train.aptt: unknown key (did you mean apt?)"),
        ("env_pass = []", "known here: from, platform, apt"),
        ("python = 3.11", "must be a string, not 3.11 (write it in quotes; without them 3.10 is the number 3.1)"),
        ("apt = 'git'", 'must be a list, not "git" (write ["git"])'),
        ("apt = [1]", "images.train.apt[0]: must be a string, not 1 (write it in quotes)"),
        ("env = 'A=1'", 'must be a table, not "A=1" (write { key = value })'),
        ("ca = 'maybe'", "must be true or false"),
        ("sdists = { x = { apt = 'a' } }", "images.train.sdists.x.apt: must be a list"),
        ("copy = [{ source = 'x' }]", "images.train.copy[0].target: is missing"),
        ("copy = ['x']", "images.train.copy[0]: must be a table"),
        ("[images.train.tests]\nx = { run = 'true', timeout = 'long' }", "'long' is not a duration"),
        ("[images.train.tests]\nx = { run = 'true', timeout = [] }", "is not a duration"),
        ("matrix = { python = ['abc'] }\ntags = ['{python}']", "matrix.python[0]: 'abc' is not a Python version"),
        ("matrix = { python = ['3.11', '3.11'] }\ntags = ['{python}']", "images.train.matrix.python: names 3.11 twice"),
        ("[run]\nshm = -1", "-1 is not a size"),
        ("files = [' ']", "images.train.files[0]: is empty"),
        ("[images.a-b]\nfrom = 'x'\n[images.'a.b']\nfrom = 'x'", "a.b and a-b differ in punctuation alone"),
        ("matrix = { os = ['1.0', '1_0'] }\ntags = ['{os}']", "train[os=1_0] and train[os=1.0] differ in punctuation"),
        ("tags = ['{os}']", "images.train.tags: nothing fills {os} (axes here: none)"),
        (f"tags = ['{{python}}{'x' * 126}']", "is longer than a registry takes (at most 128 characters)"),
        ("[run]\nshm = true", "is not a size"),
        ("[run]\nimage = 'trian'", "there is no image 'trian' (did you mean train?)"),
        ("[run]\nimage = 'train[python=3.11]'", "(there is: train)"),
        ("[mounts.m]\nsource = '/x'\ntarget = 'y'", "mounts.m.target: must be an absolute path"),
        ("[imagess]", "imagess: unknown key (did you mean images?)"),
        ("[images.x]\nfrom = ''", "images.x.from: "),
    ],
)
def test_one_fault(more: str, says: str) -> None:
    assert says in only(file(more + "\n"))


def test_a_table_of_images_without_one() -> None:
    assert (
        only(Source("f.toml", '[project]\nname = "x"\n[images]\n'))
        == "f.toml:3: images: there is no image (write [images.NAME] and from = …)"
    )


def test_underscores_are_not_hyphens_in_a_file() -> None:
    assert "run.env_pass: unknown key (did you mean env-pass?)" in only(file("[run]\nenv_pass = []\n"))


def test_a_long_value_is_shortened() -> None:
    assert len(only(file(f"python = '{'9' * 500}'\n"))) < 200


@pytest.mark.parametrize(
    ("document", "line", "says"),
    [
        ("a =", 1, "not valid TOML: invalid value at the end of the file"),
        ("x = 1\nx = 2\n", 2, "cannot overwrite a value"),
        ("[a]\n[a]\n", 2, "cannot declare"),
        ("a = 'x\n", 1, "not valid TOML"),
        ('a = """x\n\n', 1, "at the end of the file"),
        ("a = 1 b = 2", 1, "expected newline"),
    ],
)
def test_what_is_not_toml(document: str, line: int, says: str) -> None:
    found = faults(Source("wardian.toml", document))
    assert [fault.line for fault in found] == [line]
    assert says in str(found[0])


def test_faults_of_all_broken_files_together() -> None:
    found = faults(Source("wardian.toml", "a ="), Source("local", "b =", kind="local"))
    assert [fault.source for fault in found] == ["wardian.toml", "local"]


def test_a_bomb_of_brackets_is_refused() -> None:
    assert "nested too deeply" in only(Source("wardian.toml", "a = " + "[" * 100_000))


def test_a_byte_order_mark_is_no_fault() -> None:
    assert load([Source("wardian.toml", "\ufeff" + BASE)]).spec.project.name == "x"


def test_pyproject_is_read_at_its_table() -> None:
    inside = BASE.replace("[project]", "[tool.wardian.project]").replace("[images", "[tool.wardian.images")
    loaded = load([Source("pyproject.toml", "[project]\nname = 3\n" + inside)])
    assert (loaded.spec.project.name, loaded.lines["project.name"]) == ("x", 4)
    assert "tool.wardian: must be a table" in only(Source("pyproject.toml", "[tool]\nwardian = 3\n"))


def test_variables_are_filled_where_a_run_is_described() -> None:
    run = '[run]\nshm = "${SHM:-1g}"\nports = { x = "${PORT}" }\nenv = { A = "${A}$$" }\n'
    more = run + '[mounts.m]\nsource = "${A}"\ntarget = "/m"\n'
    loaded = load([file(more)], {"A": "secret", "PORT": "80"})
    assert (loaded.spec.run.shm, loaded.spec.run.ports, loaded.spec.run.env) == (1024**3, {"x": 80}, {"A": "secret$"})
    assert loaded.spec.mounts["m"].source == "secret"
    assert "secret" not in str(loaded.data)


@pytest.mark.parametrize(
    "image", ["train", "docker.io/you/base:py311", "base:1", "you/base", f"localhost:5000/base@sha256:{'0' * 64}"]
)
def test_a_run_names_an_image_of_the_file_or_a_reference(image: str) -> None:
    assert load([file('[run]\nimage = "${TRAINER:-train}"\n')], {"TRAINER": image}).spec.run.image == image


@pytest.mark.parametrize("image", ["base", "Docker.io/You/Base:1", "a b/c", "train:", "sha256"])
def test_a_run_names_nothing_else(image: str) -> None:
    assert "there is no image" in only(file(f'[run]\nimage = "{image}"\n'))


def test_an_image_takes_no_variables() -> None:
    assert "sealed into the image" in only(file('env = { A = "${HOME}" }\n'), HOME="/root")
    assert load([file('run = ["echo ${HOME}"]\n')], {"HOME": "/root"}).spec.images["train"].run == ("echo ${HOME}",)


def test_a_variable_that_is_not_set_is_told_once() -> None:
    says = only(file('[run]\nports = { x = "${PORT}" }\n'))
    assert says.startswith("wardian.toml:7: run.ports.x: the variable PORT is not set")


def test_messages_hide_what_may_be_secret() -> None:
    found = faults(
        file('[run]\nenv = { A = 12345, B = ["hunter2"] }\n'),
        Source("l", "[images.train.env]\nC = 54321\n", kind="local"),
    )
    assert len(found) == 3
    assert not any(secret in str(fault) for fault in found for secret in ("12345", "hunter2", "54321"))


def test_a_fault_of_a_flag_names_the_flag() -> None:
    assert only(file("[run]\nuser = 'root'\n"), Source("--set", "run.user=me", kind="flag")).startswith(
        "--set: run.user: "
    )


def test_a_fault_of_a_variable_names_the_variable() -> None:
    environment = Source("environment", values={"WARDIAN_RUN__USER": "me"}, kind="environment")
    assert only(file(), environment).startswith("WARDIAN_RUN__USER: run.user: ")


NAMES = st.from_regex(r"[a-z]{1,3}", fullmatch=True)


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=3), min_size=1, max_size=5))
def test_what_was_written_is_what_is_loaded(images: dict[str, list[str]]) -> None:
    data = {
        "project": {"name": "x"},
        "images": {name: {"from": "debian", "apt": [f"lib{one}" for one in apt]} for name, apt in images.items()},
    }
    loaded: Loaded = load([Source("wardian.toml", tomlkit.dumps(data))])
    assert {name: list(image.apt) for name, image in loaded.spec.images.items()} == {
        name: table["apt"]
        for name, table in data["images"].items()  # type: ignore[attr-defined]
    }
    assert set(loaded.origin) == {text(path) for path, _ in leaves(data)}


KEYS = st.sampled_from(["project", "name", "images", "train", "from", "matrix", "python", "tags", "run", "env", "@x"])
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, JUNK, max_size=4))
def test_any_tables_are_loaded_or_refused(tables: dict[str, Any]) -> None:
    with contextlib.suppress(SpecError):
        load([Source("junk", values=tables)])


@given(st.text(max_size=60))
def test_any_text_is_loaded_or_refused(document: str) -> None:
    with pytest.raises(SpecError):
        load([Source("wardian.toml", document)])

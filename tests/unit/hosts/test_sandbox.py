"""The one command that starts a sandbox: what may be in it, and what may not; what stops it, by name."""

import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import pytest

from wardian.command import Command, Result
from wardian.errors import EngineFailed, Unavailable
from wardian.hosts.sandbox import (
    CAPABILITIES,
    DIES,
    PREFIXES,
    SCRIPT,
    Namespace,
    Sandbox,
    command,
    folder,
    make_folder,
    namespace,
    ordered,
    remove_folder,
)
from wardian.plan.containers import Bind


class FakeHost:
    """A machine of which everything is said: (words in the command) → answer. Raises on anything else."""

    def __init__(self, answers: Mapping[str, tuple[int, str]]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def run(self, command: Command, *, timeout: float | None = None) -> Result:
        self.asked.append(command.argv)
        line = shlex.join(command.argv)
        for words, (code, text) in self.answers.items():
            if words in line:
                return Result(command, code, text.encode(), text.encode())
        raise AssertionError(f"unexpected: {line}")

    def stream(self, command: Command, *, line: Callable[[str], None], timeout: float | None = None) -> Result:
        raise AssertionError

    def pipe(self, command: Command, *, stdout: BinaryIO) -> Result:
        raise AssertionError

    def feed(self, command: Command, write: Callable[[BinaryIO], None]) -> Result:
        raise AssertionError


TOOLS = "/usr/bin/bwrap\n/usr/bin/unshare\n/usr/bin/setpriv\n"
ALL = TOOLS + "/usr/bin/newuidmap\n"


def test_root_mounts_in_a_namespace_of_its_own() -> None:
    found = namespace(FakeHost({"id -u": (0, f"0\n{ALL}"), "unshare --mount mount": (0, "")}))
    assert found == Namespace("root")
    assert (found.xattr, found.prefix) == ("trusted", (*DIES, "unshare", "--mount"))


def test_a_user_with_a_range_of_ids_gets_them() -> None:
    found = namespace(FakeHost({"id -u": (0, f"1000\n{ALL}"), "--map-auto": (0, "")}))
    assert (found.kind, found.xattr) == ("subids", "user")


def test_a_user_without_a_range_has_one_id() -> None:
    host = FakeHost({"id -u": (0, f"1000\n{ALL}"), "--map-auto": (1, "no subuid"), "--map-root-user": (0, "")})
    assert namespace(host).kind == "single"
    host = FakeHost({"id -u": (0, f"1000\n{TOOLS}"), "--map-root-user": (0, "")})
    assert namespace(host).kind == "single"


def test_a_root_without_rights_is_tried_as_a_user() -> None:
    host = FakeHost({"id -u": (0, f"0\n{ALL}"), "unshare --mount": (1, "denied"), "--map-root-user": (0, "")})
    assert namespace(host).kind == "single"


@pytest.mark.parametrize(
    ("program", "package"), [("bwrap", "bubblewrap"), ("unshare", "util-linux"), ("setpriv", "util-linux")]
)
def test_a_program_that_is_missing_is_named_with_its_package(program: str, package: str) -> None:
    tools = ALL.replace(f"/usr/bin/{program}\n", "")
    with pytest.raises(Unavailable, match=f"{program} is not on this machine") as caught:
        namespace(FakeHost({"id -u": (0, f"1000\n{tools}")}))
    assert caught.value.hint == f"type: sudo apt-get install {package}"


@pytest.mark.parametrize(
    ("path", "value", "hint"),
    [
        ("unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("max_user_namespaces", "0", "user.max_user_namespaces"),
        ("apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    ],
)
def test_a_kernel_setting_that_forbids_namespaces_is_named(path: str, value: str, hint: str) -> None:
    answers = {
        "id -u": (0, f"1000\n{ALL}"),
        "unshare": (1, "Operation not permitted"),
        path: (0, value),
        "cat": (1, ""),
    }
    with pytest.raises(Unavailable, match=path) as caught:
        namespace(FakeHost(answers))
    assert hint in str(caught.value.hint)


def test_an_unknown_obstacle_is_quoted() -> None:
    answers = {"id -u": (0, f"1000\n{ALL}"), "unshare": (1, "unshare: nobody knows why"), "cat": (1, "")}
    with pytest.raises(Unavailable, match="nobody knows why"):
        namespace(FakeHost(answers))


@pytest.fixture
def lower(tmp_path: Path) -> str:
    (tmp_path / "lower/var").mkdir(parents=True)
    (tmp_path / "lower/var/run").symlink_to("/run")
    return str(tmp_path / "lower")


def words(sandbox: Sandbox, kind: str = "root") -> tuple[str, ...]:
    return command(sandbox, Namespace(kind)).argv  # type: ignore[arg-type]  # a Literal


def test_no_value_of_the_environment_is_in_the_argv(lower: str) -> None:
    sandbox = Sandbox((lower,), "/tmp/r", ("true",), env={"A": "value-of-a", "B": "value\nof b"}, env_pass=("KEY",))
    made = command(sandbox, Namespace("root"))
    assert not any("value-of-a" in word or "of b" in word for word in made.argv)
    assert set(made.env.values()) == {"A=value-of-a", "B=value\nof b"}
    assert "KEY" in made.argv
    assert all(name.startswith("WARDIAN_SANDBOX_") for name in made.env)


def test_values_are_never_part_of_the_script(lower: str) -> None:
    odd = Sandbox((lower,), "/tmp/$(id)", ("`id`", "$(id)"), workdir="/'; id;'", binds=(Bind("/a;b", "/c$d"),))
    made = words(odd)
    assert made.count(SCRIPT) == 1
    assert [word for word in made if "id" in word and word != SCRIPT and "CAP" not in word and "pid" not in word] == [
        *("/tmp/$(id)", "/tmp/$(id)/m/root", "/'; id;'", "`id`", "$(id)")
    ]


def test_the_script_is_a_shell_script() -> None:
    for shell in ("sh", "bash"):
        subprocess.run([shell, "-n", "-c", SCRIPT], check=True)


def test_binds_go_where_symlinks_point(lower: str) -> None:
    made = words(Sandbox((lower,), "/tmp/r", ("true",), binds=(Bind("/src", "/var/run/x", read_only=True),)))
    at = made.index("bind")
    assert made[at : at + 3] == ("bind", "/src", "/run/x")
    assert made[made.index("--ro-bind") :][:3] == ("--ro-bind", "/tmp/r/m/root/run/x", "/run/x")


def test_the_program_comes_last_after_a_double_dash(lower: str) -> None:
    made = words(Sandbox((lower,), "/tmp/r", ("--bind", "--", "-x")))
    assert made[-4:] == ("--", "--bind", "--", "-x")


@pytest.mark.parametrize(
    ("kind", "ids", "how"),
    [
        ("root", (0, 0), {"capable"}),
        ("root", (1000, 1000), {"drops", "nested"}),
        ("root", (0, 5), {"drops", "nested"}),
        ("subids", (0, 0), {"capable"}),
        ("subids", (1000, 1000), {"nested"}),
        ("single", (1000, 1000), {"nested"}),
    ],
)
def test_how_a_user_is_made(lower: str, kind: str, ids: tuple[int, int], how: set[str]) -> None:
    made = words(Sandbox((lower,), "/tmp/r", ("true",), uid=ids[0], gid=ids[1]), kind)
    assert made[: len(DIES) + len(PREFIXES[kind])] == (*DIES, *PREFIXES[kind])
    after = made[made.index("--") + 1 :]
    assert (after[:2] == (str(ids[0]), str(ids[1]))) is ("drops" in how)
    assert ("--unshare-user" in made) is ("nested" in how)
    assert ("--uid" in made) is (how == {"nested"})
    assert ("CAP_CHOWN" in made) is ("capable" in how)


def test_what_is_asked_for_becomes_an_option(lower: str) -> None:
    plain = words(Sandbox((lower,), "/tmp/r", ("true",)))
    assert {"--die-with-parent", "--kill-child"} <= set(plain)
    assert "--unshare-net" not in plain
    full = Sandbox(
        (lower,), "/tmp/r", ("true",), network=False, die_with_parent=False, status_fd=9, read_only=True, shm=4096,
        devices=(Bind("/dev/null", "/dev/gpu"),), upper="/u", work="/w",
    )  # fmt: skip
    made = words(full)
    assert {"--unshare-net", "--remount-ro"} <= set(made)
    assert not {"--die-with-parent", "--kill-child"} & set(made)
    assert made[made.index("--json-status-fd") + 1] == "9"
    assert made[made.index("--size") + 1] == "4096"
    assert made[made.index("--dev-bind") :][:3] == ("--dev-bind", "/dev/null", "/dev/gpu")


@pytest.mark.parametrize(
    ("upper", "optional", "mode"), [(None, False, "memory"), ("/u", False, "upper"), ("/u", True, "disk")]
)
def test_where_writes_go(lower: str, upper: str | None, optional: bool, mode: str) -> None:
    made = words(Sandbox((lower,), "/tmp/r", ("true",), upper=upper, work=upper, upper_optional=optional))
    assert made[made.index("/tmp/r") :][3] == mode


def test_an_image_needs_a_layer() -> None:
    with pytest.raises(EngineFailed, match="without layers"):
        words(Sandbox((), "/tmp/r", ("true",)))


def test_outer_binds_come_first() -> None:
    binds = [Bind("1", "/a/b/c"), Bind("2", "/z"), Bind("3", "/a/b"), Bind("4", "/a")]
    assert [bind.source for bind in ordered(binds)] == ["4", "2", "3", "1"]


def test_a_run_folder_names_layers_by_number_and_goes_away(tmp_path: Path) -> None:
    lowers = [str(tmp_path / "one"), str(tmp_path / "two")]
    with folder(lowers, upper=str(tmp_path / "u"), work="/w") as made:
        path = Path(made)
        assert {entry.name for entry in path.iterdir()} == {"0", "1", "u", "w", "m"}
        assert str((path / "1").readlink()) == lowers[1]
        assert path.stat().st_mode & 0o005 == 0o005
    assert not path.exists()
    path = Path(make_folder(lowers))
    assert not (path / "u").exists()
    remove_folder(str(path))
    assert not path.exists()


def test_capabilities_are_the_kernels_numbers() -> None:
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip("no kernel headers here")
    defined = dict(line.split()[1:3] for line in header.read_text().splitlines() if line.startswith("#define CAP_"))
    assert {f"CAP_{name}": str(number) for name, number in CAPABILITIES.items()}.items() <= defined.items()

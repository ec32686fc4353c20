"""The house rules that a machine can check: which way imports go, which rooms are pure, how long a file is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "wardian"

# A module may import from its own rank's package and from lower ranks; two packages of one rank do not know each other,
# save for what SIDEWAYS names.
RANKS = [
    {"errors"},
    {"command"},
    {"spec", "oci"},
    {"lock", "plan"},
    {"hosts", "store", "registry"},
    {"resolvers", "builders", "runtimes", "runs", "checkpoints", "envs"},
    {"workspace", "console"},
    {"verbs"},
    {"main", "__main__"},
]
# who → whom, within one rank
SIDEWAYS = {
    ("plan", "lock"),  # a plan is made from a lock
    ("store", "hosts"),  # layers are unpacked by a program in a namespace
    ("registry", "store"),  # blobs go from one into the other
    ("resolvers", "builders"),  # a source distribution is locked as the wheel that is built of it
    ("builders", "resolvers"),  # what is locked is fetched
    ("runtimes", "runs"),  # a record says which container is meant
    ("workspace", "console"),
    ("__main__", "main"),
}
PURE = {"spec", "lock", "plan", "oci"}
EFFECTS = {
    "subprocess": None,
    "socket": None,
    "httpx": None,
    "tempfile": None,
    "time": {"time", "monotonic", "sleep", "perf_counter"},
    "os": {"environ", "getenv", "getcwd", "open", "replace", "rename", "unlink", "mkdir", "makedirs", "getuid"},
    "pathlib": {"Path"},
    "datetime": {"now", "today", "utcnow"},
}
DRIVERS = {
    "builders": {"assembler", "bootstrap", "buildah", "buildkit", "system"},
    "runtimes": {"sandbox", "docker", "podman"},
    "resolvers": {"apt", "python", "images"},
    "verbs": {"_sandboxed", "_composed"},  # where services run
}


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".")
        if not name.startswith("templates.") or path.parent == SOURCE / "templates":
            yield name.removesuffix(".__init__"), path, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def rank(package: str) -> int:
    return next(at for at, packages in enumerate(RANKS) if package in packages)


def upward_imports(name: str, tree: ast.Module) -> list[str]:
    own = name.split(".")[0]
    faults = []
    for target, line in imports(tree):
        parts = target.split(".")
        if parts[0] != "wardian" or len(parts) < 2 or parts[1] in {"__version__", own, "templates"}:
            continue
        if not any(parts[1] in packages for packages in RANKS):
            continue
        higher, same = rank(parts[1]) > rank(own), rank(parts[1]) == rank(own)
        if higher or (same and (own, parts[1]) not in SIDEWAYS):
            faults.append(f"{name}:{line} imports {target}")
    return faults


def effects(name: str, tree: ast.Module) -> list[str]:
    if name.split(".")[0] not in PURE:
        return []
    faults = [
        f"{name}:{line} imports {target}"
        for target, line in imports(tree)
        if EFFECTS.get(target.split(".")[0], "") is None
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            banned = EFFECTS.get(node.value.id)
            if banned and node.attr in banned:
                faults.append(f"{name}:{node.lineno} uses {node.value.id}.{node.attr}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"open", "Path", "print"}:
            faults.append(f"{name}:{node.lineno} calls {node.func.id}")
    return faults


def test_imports_go_one_way() -> None:
    assert [fault for name, _, tree in modules() for fault in upward_imports(name, tree)] == []


def test_pure_rooms_have_no_effects() -> None:
    assert [fault for name, _, tree in modules() for fault in effects(name, tree)] == []


def test_drivers_of_one_kind_do_not_know_each_other() -> None:
    faults = []
    for name, _, tree in modules():
        package, _, module = name.partition(".")
        others = DRIVERS.get(package, set()) - {module}
        if module in DRIVERS.get(package, set()):
            faults += [
                f"{name}:{line}"
                for target, line in imports(tree)
                if target in {f"wardian.{package}.{other}" for other in others}
            ]
    assert faults == []


def test_no_file_is_much_longer_than_400_lines() -> None:
    assert [
        f"{path.name}: {count}" for _, path, _ in modules() if (count := len(path.read_text().splitlines())) > 420
    ] == []


def test_no_function_is_much_longer_than_60_lines() -> None:
    assert [
        f"{name}:{node.lineno} {node.name}: {count}"
        for name, _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and (count := (node.end_lineno or 0) - node.lineno + 1) > 60
    ] == []


def test_no_module_works_at_import() -> None:
    """Module level holds definitions and literals; heavy libraries are imported inside the functions that need them."""
    heavy = {"httpx", "rich", "platformdirs", "installer", "hypothesis"}
    faults = []
    for name, _, tree in modules():
        for node in tree.body:
            chooses = isinstance(node, ast.Try) and isinstance(node.body[0], ast.ImportFrom)
            if isinstance(node, ast.For | ast.While | ast.With | ast.Try) and not chooses:
                faults.append(f"{name}:{node.lineno} has a statement at module level")
            if isinstance(node, ast.Import | ast.ImportFrom) and name in {"main", "console", "workspace", "verbs"}:
                faults += [
                    f"{name}:{line} imports {target}" for target, line in imports(node) if target.split(".")[0] in heavy
                ]
    assert faults == []


@pytest.mark.parametrize(
    ("name", "text", "bites"),
    [
        ("spec.load", "from wardian.store.store import Store", upward_imports),
        ("oci.tar", "from wardian.spec.models import Spec", upward_imports),
        ("hosts.local", "from wardian.store.store import Store", upward_imports),
        ("runs.record", "from wardian.runtimes import runtime", upward_imports),
        ("plan.images", "import subprocess", effects),
        ("lock.file", "import os\nHOME = os.environ['HOME']", effects),
        ("oci.tar", "def f():\n    return open('x')", effects),
    ],
)
def test_the_rules_bite(name: str, text: str, bites: object) -> None:
    assert callable(bites)
    assert bites(name, ast.parse(text))

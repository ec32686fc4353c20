"""Modules are compiled once for all runs, and nobody can tell but by the speed: what was edited is what is imported."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.images import Content, add_over, layer
from tests.integration.builds import Place
from tests.people import Person, ourselves, single

Need = Callable[..., None]
SITE = "opt/env/lib/python3.11/site-packages"
PACKAGE: Mapping[str, Content] = {
    f"{SITE}/pack": None,
    f"{SITE}/pack/__init__.py": b"VALUE = 'sealed'\n",
    f"{SITE}/pack/changed.py": b"VALUE = 'beneath'\n",
    f"{SITE}/pack/spoilt.py": b"VALUE = 'beneath'\n",
    f"{SITE}/pack/removed.py": b"VALUE = 'beneath'\n",
    f"{SITE}/pack/old.py": b"print 'Python 2'\n",
    f"{SITE}/pack/tests": None,
    f"{SITE}/pack/tests/slow.py": b"VALUE = 'slow'\n",
    f"{SITE}/pack/odd": None,
    f"{SITE}/pack/odd/inner.py": b"VALUE = 'inner'\n",
    f"{SITE}/pack/linked.py": "__init__.py",
    f"{SITE}/link": "pack",
}
# the same length, and all files of layers have one time: neither tells that a module is another
OVER: Mapping[str, Content] = {
    f"{SITE}/pack/changed.py": b"VALUE = 'another'\n",
    f"{SITE}/pack/spoilt.py": b"VALUE = 'another\n\n",
    f"{SITE}/pack/.wh.removed.py": b"",
}
CACHED = "import importlib, os, sys; print(os.path.exists(importlib.import_module(sys.argv[1]).__cached__))"
VALUE = "import importlib, sys; print(importlib.import_module(sys.argv[1]).VALUE)"
FOLDERS = f"cd /{SITE} && find . ! -path '*__pycache__*' -printf '%p %y %m %U %G %T@ %l\\n' | sort"


def prepared(folder: Path, base_store: Path, person: Person) -> Place:
    """A store with ``app:1``: a base with Python, a package over it, changes over that."""
    store = folder / "store"
    store.mkdir()
    kept = [base_store / name for name in ("blobs", "downloads", "layers", "index.json", "oci-layout")]
    subprocess.run(["cp", "-a", *kept, store], check=True)
    place = Place(folder, person)
    modes = {f"{SITE}/pack/odd": 0o2751}
    add_over(place.store, "base/base:latest", "app:1", layer(PACKAGE, modes=modes), layer(OVER))
    place.project.mkdir()
    (place.project / "wardian.toml").write_text(
        '[project]\nname = "x"\n[images.x]\nfrom = "app:1"\n[run]\nimage = "app:1"\ngpus = "none"\n'
    )
    person.own(folder)
    return place


@pytest.fixture(scope="module", params=["root", "subids", "single"])
def place(
    request: pytest.FixtureRequest, base_store: Path, tmp_path_factory: pytest.TempPathFactory, need: Need
) -> Place:
    need("bwrap", "unshare")
    person = ourselves()
    if request.param == "single" and person.kind == "root":
        person = single()
    elif request.param != person.kind:
        user = request.getfixturevalue("plain_user")
        person = Person(request.param, user.uid, user.gid, user.prefix)
    return prepared(tmp_path_factory.mktemp("bytecode"), base_store, person)


def say(place: Place, *argv: str, image: str = "app:1", code: int = 0) -> str:
    return place.run("run", "--no-project", "-i", image, "--", *argv, code=code).stdout.strip()


def companions(place: Place) -> list[Path]:
    """The folders with bytecode."""
    found = (path for path in (place.folder / "store/unpacked").iterdir() if path.is_dir())
    return [path for path in found if re.match(r"[0-9a-f]{64}\.[0-9a-f]{16}", path.name)]


def test_every_module_is_compiled_before_anybody_imports_it(place: Place) -> None:
    first = place.run("run", "--no-project", "--", "python", "-Bc", CACHED, "json.tool")
    assert first.stdout == "True\n"
    assert "compiled once" in first.stderr
    again = place.run("run", "--no-project", "--", "python", "-Bc", CACHED, "pack.odd.inner")
    assert (again.stdout, again.stderr) == ("True\n", "")
    assert say(place, "python", "-Bc", CACHED, "pack.tests.slow") == "False"
    assert say(place, "python", "-Bc", VALUE, "pack.tests.slow") == "slow"


def test_a_module_is_the_one_of_the_topmost_layer(place: Place) -> None:
    assert say(place, "python", "-c", VALUE, "pack") == "sealed"
    assert say(place, "python", "-c", VALUE, "pack.linked") == "sealed"
    assert say(place, "python", "-c", VALUE, "link.odd.inner") == "inner"
    assert say(place, "python", "-c", VALUE, "pack.changed") == "another"
    for name, error in (("spoilt", "SyntaxError"), ("old", "SyntaxError"), ("removed", "ModuleNotFoundError")):
        done = place.run("run", "--no-project", "--", "python", "-c", VALUE, f"pack.{name}", code=1)
        assert error in done.stderr, name


def test_a_module_that_is_edited_in_a_shell_is_what_is_imported(place: Place) -> None:
    """As long as before, and as old."""
    script = f"""
        cd /{SITE}/pack && python -c "import pack" && touch -r __init__.py /tmp/time
        sed -i s/sealed/edited/ __init__.py && touch -r /tmp/time __init__.py; python -c "$1" pack"""
    assert say(place, "sh", "-c", script, "sh", VALUE) == "edited"
    assert say(place, "python", "-c", VALUE, "pack") == "sealed"


def test_a_traceback_names_the_file_of_the_image(place: Place) -> None:
    program = "import json; json.loads('{')"
    assert (
        'File "/usr/lib/python3.11/json/__init__.py", line '
        in place.run("run", "--no-project", "--", "python", "-c", program, code=1).stderr
    )


def test_files_and_folders_look_as_without_it(place: Place) -> None:
    say(place, "true")
    seen = say(place, "sh", "-c", FOLDERS)
    assert re.search(r"^./pack/odd d 2751 \d+ \d+ 1577836800", seen, re.MULTILINE)
    assert "./link l 777" in seen
    hidden = place.folder / "hidden"
    for path in companions(place):
        # as an image without a Python has it: no companion lies over its layers
        path.rename(hidden.with_name(path.name))
        path.mkdir()
        path.chmod(0o755)
    try:
        assert say(place, "sh", "-c", FOLDERS) == seen
        assert say(place, "python", "-Bc", CACHED, "pack") == "False"
    finally:
        for path in companions(place):
            path.rmdir()
            hidden.with_name(path.name).rename(path)


def test_a_foreign_python_has_no_say_in_what_other_images_import(base_store: Path, tmp_path: Path, need: Need) -> None:
    """It is over the base, so the base's own compiles; and where it is all there is, its layers are its alone."""
    need("bwrap", "unshare")
    place = prepared(tmp_path, base_store, ourselves())
    evil = b"#!/bin/sh\nfor made in /wardian/made/*; do mkdir -p $made/evil; done\n"
    modes = {"opt/env/bin/python3.11": 0o755, "evil/python": 0o755}
    first = layer({"opt/env/bin/python3.11": evil}, modes=modes)
    add_over(place.store, "app:1", "evil:1", first)
    add_over(
        place.store, "app:1", "evil:2", layer({"evil/python": evil}, modes=modes), config={"Env": ["PATH=/evil:/bin"]}
    )
    say(place, "true", image="evil:1")
    assert say(place, "sh", "-c", "ls -d /evil 2>/dev/null || echo none", image="evil:1") == "none"
    say(place, "true", image="evil:2")
    assert say(place, "sh", "-c", "ls -d /evil/* /evil", image="evil:2") != "none"
    assert say(place, "sh", "-c", "ls -d /evil 2>/dev/null || echo none") == "none"
    assert say(place, "python", "-Bc", CACHED, "pack") == "True"


def test_a_python_that_cannot_compile_is_no_hindrance(base_store: Path, tmp_path: Path, need: Need) -> None:
    need("bwrap", "unshare")
    place = prepared(tmp_path, base_store, ourselves())
    broken = layer({"only/python": b"#!/bin/sh\necho no >&2; exit 3\n"}, modes={"only/python": 0o755})
    add_over(place.store, "app:1", "broken:1", broken, config={"Env": ["PATH=/only:/bin"]})
    assert say(place, "echo", "it runs", image="broken:1") == "it runs"
    assert companions(place) == []


def test_builds_do_not_see_it(base_store: Path, tmp_path: Path, need: Need, base_project: Path) -> None:
    need("bwrap", "unshare")
    place = prepared(tmp_path, base_store, ourselves())
    shutil.copy(base_project / "wardian.lock", place.project)
    text = (base_project / "wardian.toml").read_text()
    (place.project / "wardian.toml").write_text(
        f'{text}\n[images.more]\nfrom = "@base"\nrun = ["find /usr/lib/python3.11/json -name __pycache__ >/seen"]\n'
    )
    place.run("lock")
    place.run("build", "base")
    place.run("run", "-i", "base", "--", "true")
    assert companions(place)
    place.run("build", "more")
    assert say(place, "wc", "-c", "/seen", image="more") == "0 /seen"


def test_it_goes_with_its_layer_or_its_python(base_store: Path, tmp_path: Path, need: Need) -> None:
    need("bwrap", "unshare")
    place = prepared(tmp_path, base_store, ourselves())
    say(place, "true")
    assert json.loads(place.run("store", "verify", "--json").stdout)["faults"] == []
    worth = max(companions(place), key=lambda path: len(list(path.rglob("*.pyc"))))
    next(worth.rglob("*.pyc")).write_bytes(b"spoilt")
    (fault,) = json.loads(place.run("store", "verify", "--json", code=1).stdout)["faults"]
    assert fault["place"] == str(worth)
    place.run("store", "verify", "--repair")
    assert worth not in companions(place)
    say(place, "true")
    assert worth in companions(place)

    before = len(companions(place))
    mark = worth.with_name(f"{worth.name}.done")
    mark.write_text(json.dumps({**json.loads(mark.read_bytes()), "made_by": f"sha256:{'0' * 64}"}))
    said = json.loads(place.run("store", "prune", "--yes", "--json").stdout)["items"]
    assert [str(worth)] == [one["path"] for one in said if one["kind"] == "unpacked"], said
    assert len(companions(place)) == before - 1
    with place.store.changing() as entries:
        entries.clear()
    place.run("store", "prune", "--yes")
    assert companions(place) == []
    assert list((place.folder / "store/unpacked").iterdir()) == []

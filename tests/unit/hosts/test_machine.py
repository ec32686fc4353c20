"""The machine's configuration: which file and which variable wins, and what never leaves it."""

from pathlib import Path

import pytest

from wardian.hosts.machine import PYPI, Machine, bare, local_path, read_machine, unique, userinfo


@pytest.fixture
def empty(tmp_path: Path) -> dict[str, str]:
    """An environment whose pip and uv configuration is empty, wherever the tests run."""
    return {"HOME": str(tmp_path / "nobody"), "XDG_CONFIG_DIRS": str(tmp_path / "none"), "UV_NO_CONFIG": "1"}


def machine(environ: dict[str, str], prefix: Path | None = None) -> Machine:
    return read_machine(environ, prefix=str(prefix or "/nonexistent"))


def pip(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def silent(empty: dict[str, str]) -> dict[str, str]:
    """No pip file is read at all, so that /etc/pip.conf of the machine that runs the tests does not count."""
    return {**empty, "PIP_CONFIG_FILE": "/dev/null"}


def test_a_bare_machine_asks_pypi(silent: dict[str, str]) -> None:
    found = machine(silent)
    assert found.indexes == (PYPI,)
    assert found.environment() == {}
    assert found.folders == ()
    assert found.index_strategy == "first-index"


def test_no_home_is_no_error() -> None:
    assert machine({"PIP_CONFIG_FILE": "/dev/null", "UV_NO_CONFIG": "1"}).netrc is None


@pytest.mark.parametrize(
    ("environ", "index"),
    [
        ({"PIP_INDEX_URL": "https://pip/simple/"}, "https://pip/simple"),
        ({"UV_INDEX_URL": "https://uv/simple", "PIP_INDEX_URL": "https://pip/simple"}, "https://uv/simple"),
        ({"UV_DEFAULT_INDEX": "https://new/simple", "UV_INDEX_URL": "https://uv/simple"}, "https://new/simple"),
        ({"UV_DEFAULT_INDEX": "corp=https://new/simple"}, "https://new/simple"),
    ],
)
def test_the_default_index(silent: dict[str, str], environ: dict[str, str], index: str) -> None:
    assert machine({**silent, **environ}).index == index


def test_extra_indexes_come_before_the_default_one(silent: dict[str, str]) -> None:
    environ = {
        **silent,
        "UV_INDEX": "a=https://a/simple https://b/simple",
        "PIP_EXTRA_INDEX_URL": "https://c https://a/simple",
    }
    assert machine(environ).indexes == ("https://a/simple", "https://b/simple", "https://c", PYPI)


def test_pips_extra_indexes_are_compared_by_version_as_pip_does(silent: dict[str, str]) -> None:
    assert machine({**silent, "PIP_EXTRA_INDEX_URL": "https://c"}).index_strategy == "unsafe-best-match"
    assert machine({**silent, "UV_INDEX": "https://c"}).index_strategy == "first-index"
    asked = {"PIP_EXTRA_INDEX_URL": "https://c", "UV_INDEX_STRATEGY": "first-index"}
    assert machine({**silent, **asked}).index_strategy == "first-index"


def test_no_index(silent: dict[str, str]) -> None:
    assert machine({**silent, "PIP_NO_INDEX": "1"}).indexes == ()
    assert machine({**silent, "UV_NO_INDEX": "true"}).indexes == ()
    assert machine({**silent, "PIP_NO_INDEX": "0"}).indexes == (PYPI,)


def test_pip_files_in_their_order(empty: dict[str, str], tmp_path: Path) -> None:
    home = Path(empty["HOME"])
    pip(tmp_path / "none" / "pip" / "pip.conf", "[global]\nindex-url = https://shared\ntrusted-host = shared.example\n")
    pip(home / ".pip" / "pip.conf", "[global]\nindex_url = https://old\n")
    assert machine(empty).index == "https://old"
    pip(home / ".config" / "pip" / "pip.conf", "[global]\nindex-url = https://user\n")
    assert machine(empty).index == "https://user"
    pip(tmp_path / "venv" / "pip.conf", "[install]\nindex-url = https://venv\n")
    assert machine(empty, tmp_path / "venv").index == "https://venv"
    chosen = pip(tmp_path / "chosen.conf", "[global]\nindex-url = https://global\n")
    environ = {**empty, "PIP_CONFIG_FILE": str(chosen)}
    assert machine(environ, tmp_path / "venv").index == "https://venv", (
        "[install] wins over a later [global], as in pip"
    )
    assert machine(environ, tmp_path / "venv").trusted == ("shared.example",)
    assert machine({**environ, "PIP_INDEX_URL": "https://env"}).index == "https://env"


def test_several_lines_of_a_pip_file(empty: dict[str, str]) -> None:
    text = "[global]\nextra-index-url =\n    https://a\n    https://b\nfind-links = /wheels /more\n"
    path = pip(Path(empty["HOME"]) / ".config" / "pip" / "pip.conf", text)
    path.write_text(text + "cert = /ca.crt\nproxy = http://p:1\n")
    found = machine(empty)
    assert found.extra_indexes == ("https://a", "https://b")
    assert found.find_links == ("/wheels", "/more")
    assert found.ca_bundle == "/ca.crt"
    assert found.proxies == {"http": "http://p:1", "https": "http://p:1"}


@pytest.mark.parametrize("content", ["no section\n", "[global\n", "\x00", "[global]\nindex-url\n"])
def test_a_broken_pip_file_is_left_to_pip(empty: dict[str, str], content: str) -> None:
    pip(Path(empty["HOME"]) / ".config" / "pip" / "pip.conf", content)
    assert machine(empty).extra_indexes == ()


def test_uv_files(tmp_path: Path, silent: dict[str, str]) -> None:
    text = """
find-links = ["/wheels"]
allow-insecure-host = ["old.example"]
[[index]]
name = "corp"
url = "https://corp/simple"
[[index]]
url = "https://main/simple"
default = true
[[index]]
url = "https://torch/whl"
explicit = true
[pip]
index-strategy = "unsafe-best-match"
extra-index-url = ["https://more/simple"]
"""
    path = tmp_path / "uv.toml"
    path.write_text(text)
    environ = {name: value for name, value in silent.items() if name != "UV_NO_CONFIG"} | {
        "UV_CONFIG_FILE": str(path),
        "UV_INDEX_CORP_USERNAME": "ada",
        "UV_INDEX_CORP_PASSWORD": "secret",
    }
    found = machine(environ)
    assert found.indexes == ("https://corp/simple", "https://more/simple", "https://main/simple")
    assert found.find_links == ("/wheels",)
    assert found.trusted == ("old.example",)
    assert found.index_strategy == "unsafe-best-match"
    assert found.credentials == (("https://corp/simple", "ada", "secret"),)


def test_a_broken_uv_file_is_left_to_uv(tmp_path: Path, silent: dict[str, str]) -> None:
    (tmp_path / "uv.toml").write_text("index = [[[")
    environ = {**silent, "UV_CONFIG_FILE": str(tmp_path / "uv.toml")}
    del environ["UV_NO_CONFIG"]
    assert machine(environ).indexes == (PYPI,)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"])
def test_certificates(silent: dict[str, str], name: str) -> None:
    found = machine({**silent, name: "/ca.pem"})
    assert found.ca_bundle == "/ca.pem"
    assert found.environment()["REQUESTS_CA_BUNDLE"] == "/ca.pem"
    assert found.environment("/inside.pem")["SSL_CERT_FILE"] == "/inside.pem"


def test_proxies(silent: dict[str, str]) -> None:
    found = machine(
        {
            **silent,
            "https_proxy": "http://p:1",
            "HTTPS_PROXY": "http://q:2",
            "NO_PROXY": "corp",
            "PIP_PROXY": "http://x",
        }
    )
    assert found.proxies == {"https": "http://p:1"}
    assert found.environment() == {
        "https_proxy": "http://p:1",
        "HTTPS_PROXY": "http://p:1",
        "no_proxy": "corp",
        "NO_PROXY": "corp",
    }


def test_what_a_build_step_gets(silent: dict[str, str], tmp_path: Path) -> None:
    environ = {
        **silent,
        "UV_DEFAULT_INDEX": "https://main",
        "UV_INDEX": "https://a",
        "PIP_FIND_LINKS": str(tmp_path),
        "UV_NO_INDEX": "",
    }
    assert machine(environ).environment() == {
        "PIP_INDEX_URL": "https://main",
        "UV_DEFAULT_INDEX": "https://main",
        "PIP_EXTRA_INDEX_URL": "https://a",
        "UV_INDEX": "https://a",
        "PIP_FIND_LINKS": str(tmp_path),
        "UV_FIND_LINKS": str(tmp_path),
    }


def test_folders_of_this_machine(silent: dict[str, str]) -> None:
    found = machine({**silent, "PIP_FIND_LINKS": "/w file:///x%20y https://page", "UV_INDEX": "file:///pypi/simple"})
    assert found.folders == ("/w", "/x y", "/pypi/simple")


@pytest.mark.parametrize(
    ("url", "without", "who"),
    [
        ("https://ada:s%40x@h:1/a?b#c", "https://h:1/a?b#c", ("ada", "s@x")),
        ("https://token@h/a", "https://h/a", ("token", "")),
        ("https://h/a@b", "https://h/a@b", None),
        ("file:///a", "file:///a", None),
    ],
)
def test_credentials_in_urls(url: str, without: str, who: tuple[str, str] | None) -> None:
    assert bare(url) == without
    assert userinfo(url) == who


def test_local_paths() -> None:
    assert local_path("https://h/a") is None
    assert local_path("file:///a%2Bb") == Path("/a+b")
    assert local_path("wheels") == Path("wheels")


def test_unique_keeps_the_order() -> None:
    assert unique(["b", "a", "b"]) == ("b", "a")

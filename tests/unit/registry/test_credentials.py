"""Where credentials are found, in which order, and what is said of the places."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wardian.command import Command, Result
from wardian.errors import Unavailable, WardianError
from wardian.registry.credentials import HUB_KEY, Credential, Keyring, auth_files

HOST = "registry.example:5000"


def encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def refuse(command: Command) -> Result:
    raise AssertionError(f"nothing was to be run: {command}")


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)
    return path


def keyring(folder: Path, run: Callable[[Command], Result] = refuse, **environ: str) -> Keyring:
    return Keyring({"HOME": str(folder), **environ}, run)


def helper(answers: dict[str, Any]) -> Callable[[Command], Result]:
    """A credential helper by program: an answer, a code, or absent."""

    def run(command: Command) -> Result:
        answer = answers[command.argv[0]]
        assert command.argv[1:] == ("get",)
        if answer is None:
            raise Unavailable("not on this machine")
        if isinstance(answer, int):
            return Result(command, answer, b"credentials not found in native keychain\n")
        return Result(command, 0, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    return run


def test_the_order_of_places(tmp_path: Path) -> None:
    environ = {
        "HOME": "/h",
        "REGISTRY_AUTH_FILE": "/a/auth.json",
        "DOCKER_CONFIG": "/d",
        "XDG_RUNTIME_DIR": "/run/user/1",
    }
    assert [str(path) for path in auth_files(environ)] == [
        "/a/auth.json",
        "/d/config.json",
        "/run/user/1/containers/auth.json",
        "/h/.config/containers/auth.json",
    ]
    assert str(next(iter(auth_files({"HOME": "/h"})))) == "/h/.docker/config.json"
    assert list(auth_files({})) == []


def test_docker_s_file(tmp_path: Path) -> None:
    path = write(tmp_path / ".docker" / "config.json", {"auths": {HOST: {"auth": encoded("ada", "p:w")}}})
    found = keyring(tmp_path).find(HOST, "acme/image")
    assert found == Credential(str(path), "ada", "p:w")
    assert found.basic == "Basic " + encoded("ada", "p:w")


def test_secrets_are_not_shown() -> None:
    shown = repr(Credential("file", "ada", "pw", "identity", "token"))
    assert "pw" not in shown
    assert "identity" not in shown
    assert "token=" not in shown


@pytest.mark.parametrize(
    "key", [HUB_KEY, "docker.io", "https://docker.io", "registry-1.docker.io", "index.docker.io/v1/"]
)
def test_docker_hub_has_many_names(tmp_path: Path, key: str) -> None:
    write(tmp_path / ".docker" / "config.json", {"auths": {key: {"auth": encoded("a", "b")}}})
    assert keyring(tmp_path).find("docker.io", "library/debian")


@pytest.mark.parametrize(
    ("key", "user"),
    [(HOST, "host"), (f"{HOST}/acme", "part"), (f"{HOST}/acme/image", "whole"), (f"https://{HOST}/v2/", "url")],
)
def test_podman_s_file_may_name_a_part_of_a_registry(tmp_path: Path, key: str, user: str) -> None:
    others = {f"{HOST}/other": {"auth": encoded("no", "no")}, f"{HOST}/acme/imag": {"auth": encoded("no", "no")}}
    auths = {**others, key: {"auth": encoded(user, "x")}}
    write(tmp_path / "run" / "containers" / "auth.json", {"auths": auths})
    found = keyring(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "run")).find(HOST, "acme/image")
    assert found
    assert found.username == user


def test_the_most_specific_entry_wins(tmp_path: Path) -> None:
    auths = {HOST: {"auth": encoded("host", "x")}, f"{HOST}/acme": {"auth": encoded("acme", "x")}}
    write(tmp_path / "auth.json", {"auths": auths})
    ours = keyring(tmp_path, REGISTRY_AUTH_FILE=str(tmp_path / "auth.json"))
    assert [ours.find(HOST, name).username for name in ("acme/a", "other/a")] == ["acme", "host"]  # type: ignore[union-attr]


def test_other_kinds_of_secrets(tmp_path: Path) -> None:
    path = tmp_path / ".docker" / "config.json"
    write(path, {"auths": {HOST: {"identitytoken": "i"}}})
    assert keyring(tmp_path).find(HOST) == Credential(str(path), identity_token="i")
    write(path, {"auths": {HOST: {"registrytoken": "r"}}})
    assert keyring(tmp_path).find(HOST) == Credential(str(path), registry_token="r")
    write(path, {"auths": {HOST: {"username": "u", "password": "p"}}})
    assert keyring(tmp_path).find(HOST) == Credential(str(path), "u", "p")
    write(path, {"auths": {HOST: {}}})  # what `docker login` leaves when a helper keeps the secret
    assert keyring(tmp_path).find(HOST) is None


def test_a_helper_for_the_host_goes_before_the_store_for_all(tmp_path: Path) -> None:
    config = {"credHelpers": {HOST: "one"}, "credsStore": "all", "auths": {HOST: {"auth": encoded("file", "x")}}}
    write(tmp_path / ".docker" / "config.json", config)
    run = helper({"docker-credential-one": {"Username": "h", "Secret": "s"}, "docker-credential-all": 1})
    ours = keyring(tmp_path, run)
    assert ours.find(HOST) == Credential("docker-credential-one", "h", "s")
    other = ours.find("other.example")
    assert other is None
    assert ours.tried == [str(tmp_path / ".docker" / "config.json"), "docker-credential-all"]


def test_a_helper_is_told_docker_hub_s_address(tmp_path: Path) -> None:
    write(tmp_path / ".docker" / "config.json", {"credsStore": "all"})
    asked: list[bytes | None] = []

    def run(command: Command) -> Result:
        asked.append(command.stdin)
        return Result(command, 0, b'{"Username":"<token>","Secret":"refresh"}')

    found = keyring(tmp_path, run).find("docker.io", "library/debian")
    assert found == Credential("docker-credential-all", identity_token="refresh")
    assert asked == [HUB_KEY.encode()]


def test_a_helper_that_is_gone_is_named_and_the_next_place_is_asked(tmp_path: Path) -> None:
    config = {"credsStore": "desktop", "auths": {HOST: {"auth": encoded("file", "x")}}}
    write(tmp_path / ".docker" / "config.json", config)
    ours = keyring(tmp_path, helper({"docker-credential-desktop": None}))
    found = ours.find(HOST)
    assert found
    assert found.username == "file"
    assert "docker-credential-desktop (not on this machine)" in ours.tried


@pytest.mark.parametrize("answer", [b"", b"no", b"[]", b"{}", b'{"Username":"x"}'])
def test_a_helper_that_answers_nonsense(tmp_path: Path, answer: bytes) -> None:
    write(tmp_path / ".docker" / "config.json", {"credsStore": "all"})
    with pytest.raises(WardianError, match="docker-credential-all answered something that is no credential"):
        keyring(tmp_path, helper({"docker-credential-all": answer})).find(HOST)


def test_a_helper_s_name_is_no_path(tmp_path: Path) -> None:
    write(tmp_path / ".docker" / "config.json", {"credsStore": "../../tmp/evil"})
    with pytest.raises(WardianError, match="not the name of a credential helper"):
        keyring(tmp_path).find(HOST)


@pytest.mark.parametrize(("machine", "good"), [(HOST, True), ("registry.example", True), ("other", False)])
def test_netrc_comes_last(tmp_path: Path, machine: str, good: bool) -> None:
    path = write(tmp_path / ".netrc", f"machine {machine} login ada password pw\n")
    found = keyring(tmp_path).find(HOST)
    assert found == (Credential(str(path), "ada", "pw") if good else None)


def test_netrc_may_be_elsewhere_or_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "mine", "machine\n")
    ours = keyring(tmp_path, NETRC=str(path))
    assert ours.find(HOST) is None
    assert ours.tried
    assert str(path) in ours.tried[0]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / ".docker" / "config.json", "{not json")
    with pytest.raises(WardianError, match=f"{path} is not JSON"):
        keyring(tmp_path).find(HOST)
    write(path, "[]")
    with pytest.raises(WardianError, match="not a JSON object"):
        keyring(tmp_path).find(HOST)
    write(path, {"auths": {HOST: {"auth": "?"}}})
    with pytest.raises(WardianError, match="is not base64"):
        keyring(tmp_path).find(HOST)
    for content in (b'{"auths": {"\xe9": {}}}', b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(WardianError, match="is not JSON"):
            keyring(tmp_path).find(HOST)


def test_a_place_that_cannot_be_read_is_told_and_the_next_is_asked(tmp_path: Path) -> None:
    (tmp_path / ".docker" / "config.json").mkdir(parents=True)
    write(tmp_path / ".config" / "containers" / "auth.json", {"auths": {HOST: {"username": "ada", "password": "pw"}}})
    ours = keyring(tmp_path)
    found = ours.find(HOST)
    assert found
    assert found.username == "ada"
    assert ours.tried[0] == f"{tmp_path}/.docker/config.json (Is a directory)"


def test_nothing_anywhere(tmp_path: Path) -> None:
    ours = keyring(tmp_path)
    assert ours.find(HOST) is None
    assert ours.tried == []

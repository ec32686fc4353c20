"""A compose file's words: escaping, ports, checks, order; compose itself reads them in tests/integration."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wardian.plan.compose import Part, as_written, document, health, literal, text, told, written
from wardian.plan.containers import Bind
from wardian.spec.interpolate import Unset, interpolate
from wardian.spec.models import Ready, Service


def part(name: str = "qa", service: Service | None = None, **fields: Any) -> Part:
    known: dict[str, Any] = {
        "image": "demo/train:latest",
        "ports": (("80", "8080"),),
        "binds": (),
        "env": {},
        "user": "1:2",
        "workdir": "/workspace",
        "python": True,
        "say": written,
    }
    return Part(name, service or Service(), **{**known, **fields})


def services(*parts: Part, **how: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = document(parts, **how)["services"]
    return found


def compose_reads(said: str, variables: Mapping[str, str]) -> str:
    """What compose makes of a text; its interpolation is the one that wardian.toml has."""
    return interpolate(said, variables)


@given(st.text(alphabet="$${}:-aA1 '\"\\\n"))
def test_a_literal_text_is_not_changed_by_compose(said: str) -> None:
    assert compose_reads(literal(said), {}) == said


@given(st.text(alphabet="$${}:-aA1_ "), st.dictionaries(st.sampled_from("aA_"), st.text(max_size=3)))
def test_a_written_text_means_in_compose_what_it_means_here(said: str, variables: dict[str, str]) -> None:
    try:
        meant = interpolate(said, variables)
    except Unset:
        return
    assert compose_reads(written(said), variables) == meant


def test_a_service_without_anything_needs_only_its_image() -> None:
    body = services(part(ports=(), workdir=None, user="0:0"))["qa"]
    assert body == {"image": "demo/train:latest", "init": True, "user": "0:0", "environment": {}}


def test_ports_are_published_on_loopback_alone() -> None:
    body = services(part(ports=(("${P:-1}", "${P:-1}"), ("81", "${QA_PORT_ADMIN:-81}"))))["qa"]
    assert body["ports"] == ["127.0.0.1:${P:-1}:${P:-1}", "127.0.0.1:${QA_PORT_ADMIN:-81}:81"]


def test_a_low_port_is_opened_for_who_is_not_root() -> None:
    web = Service(ports={"http": 80, "more": 8080})
    assert services(part(service=web))["qa"]["sysctls"] == {"net.ipv4.ip_unprivileged_port_start": "0"}
    assert "sysctls" not in services(part(service=web, user="0:0"))["qa"]
    assert "sysctls" not in services(part(service=Service(ports={"http": 8080})))["qa"]


def test_secrets_go_by_name_and_a_uid_without_a_name_gets_a_home() -> None:
    body = services(part(service=Service(env={"A": "$x", "HOME": "/h"}, env_pass=("KEY",)), env={"B": "${P:-1}"}))["qa"]
    assert body["environment"] == {"HOME": "/h", "B": "${P:-1}", "A": "$$x", "KEY": None}
    assert services(part())["qa"]["environment"] == {"HOME": "/tmp"}


@pytest.mark.parametrize("gpus", ["none", "auto"])
def test_no_gpu_is_reserved_unless_it_is_asked_for(gpus: str) -> None:
    assert "deploy" not in services(part(service=Service(gpus=gpus)))["qa"]


@pytest.mark.parametrize(
    ("gpus", "device"),
    [
        ("all", {"driver": "nvidia", "count": "all"}),
        ("2", {"driver": "nvidia", "count": 2}),
        ("0,3", {"driver": "nvidia", "device_ids": ["0", "3"]}),
        ("0,", {"driver": "nvidia", "device_ids": ["0"]}),
        (
            "nvidia.com/gpu=0,nvidia.com/gpu=1",
            {"driver": "cdi", "device_ids": ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]},
        ),
    ],
)
def test_gpus_that_are_asked_for(gpus: str, device: dict[str, Any]) -> None:
    devices = services(part(service=Service(gpus=gpus)))["qa"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{**device, "capabilities": ["gpu"]}]


def test_shared_memory_is_said_when_it_is_not_the_engines_own() -> None:
    assert "shm_size" not in services(part(service=Service(shm=64 * 1024**2)))["qa"]
    assert services(part(service=Service(shm=2**30)))["qa"]["shm_size"] == 2**30


def test_nothing_fixed_and_nothing_above_the_machine() -> None:
    full = part(
        service=Service(ready=Ready(http="/"), volumes=("d:/d",), gpus="all", shm=2**30), binds=(Bind(".", "/w"),)
    )
    body = services(full)["qa"]
    assert not {"container_name", "ulimits", "privileged", "cap_add", "network_mode", "hostname"} & body.keys()


def test_who_depends_waits_for_health_where_there_is_one() -> None:
    web = part("web", Service(ready=Ready(tcp=0), ports={"80": 80}))
    log = part("log", Service(ready=Ready(log="x")))
    user = part("user", Service(depends_on=("web", "log"), profiles=("p",)))
    body = services(web, log, user)
    assert body["user"]["depends_on"] == {
        "web": {"condition": "service_healthy"},
        "log": {"condition": "service_started"},
    }
    assert body["user"]["profiles"] == ["p"]
    assert "healthcheck" not in body["log"]
    alone = services(web, log, user, standing_alone=False)
    assert not {"depends_on", "profiles"} & alone["user"].keys()


def test_a_new_volume_is_given_to_who_writes_to_it() -> None:
    one = part(
        service=Service(volumes=("d:/d", "s:/s:ro:shared", "./x:/x"), profiles=("p",)), binds=(Bind("./x", "/x"),)
    )
    whole = document([one])
    assert whole["volumes"] == {"qa-d": {}, "s": {}}
    volumes = [
        {"type": "volume", "source": "qa-d", "target": "/d"},
        {"type": "volume", "source": "s", "target": "/s", "read_only": True},
    ]
    folder = {"type": "bind", "source": "./x", "target": "/x", "bind": {"create_host_path": False}}
    assert whole["services"]["qa"]["volumes"] == [folder, *volumes]
    owner = whole["services"]["qa-volumes"]
    assert (owner["entrypoint"], owner["command"]) == (["chown"], ["1:2", "/d", "/s"])
    assert owner["profiles"] == ["p"]
    assert whole["services"]["qa"]["depends_on"] == {"qa-volumes": {"condition": "service_completed_successfully"}}
    assert list(document([part(service=Service(volumes=("d:/d",)), user="0:0")])["services"]) == ["qa"]


def test_checks_need_no_curl() -> None:
    web = Service(ready=Ready(http="/a'b$c", timeout=2.5), ports={"80": 80})
    found = health(part(service=web))
    assert found is not None
    assert found["test"][:3] == ["CMD", "python", "-c"]
    assert "'127.0.0.1', 80, timeout=5" in found["test"][3]
    assert "'/a%27b%24c'" in found["test"][3]
    assert found["start_period"] == "3s"
    shell = health(part(service=web, python=False, ports=(("${P:-80}", "1"),)))
    assert shell is not None
    assert "wget" in shell["test"][1]
    assert "/dev/tcp/127.0.0.1/${P:-80};" in shell["test"][1]


def test_checks_of_the_other_ways() -> None:
    ports = (("80", "1"), ("81", "2"))
    tcp = health(part(service=Service(ready=Ready(tcp=81), ports={"a": 80, "b": 81}), ports=ports))
    assert tcp is not None
    assert "0A' 81)" in tcp["test"][1]
    command = health(part(service=Service(ready=Ready(command=("sh", "-c", "test $x ${P:-1}")))))
    assert command is not None
    assert command["test"] == ["CMD", "sh", "-c", "test $$x ${P:-1}"]
    assert health(part(service=Service(ready=Ready(log="x")))) is None


def test_the_file_keeps_its_variables() -> None:
    data = {
        "services": {
            "qa": {
                "command": "serve --port ${QA:-80} $HOME",
                "ports": ["${QA:-80}", 81],
                "env": {"A": "${A}"},
                "ready": {"command": "test ${QA:-80}"},
            }
        }
    }
    parsed = Service(
        command=("sh", "-c", "serve --port 7 $HOME"),
        ports={"7": 7, "81": 81},
        env={"A": "secret"},
        ready=Ready(command=("sh", "-c", "test 7")),
    )
    service, ports = as_written({"qa": parsed}, data, "qa")
    assert service.command == ("sh", "-c", "serve --port ${QA:-80} $HOME")
    assert service.env == {"A": "${A}"}
    assert service.ready is not None
    assert service.ready.command == ("sh", "-c", "test ${QA:-80}")
    assert ports == (("${QA:-80}", "${QA:-80}"), ("81", "${QA_PORT_81:-81}"))


def test_a_ready_made_service_gets_a_variable_for_its_port() -> None:
    service, ports = as_written({"board": Service(use="tensorboard")}, {"services": {"board": {}}}, "board")
    assert ports == (("6006", "${BOARD_PORT:-6006}"),)
    assert service.command is not None
    table = {"services": {"board": {"ports": {"x": "${TB:-1}"}, "command": ["tb"]}}}
    service, ports = as_written({"board": Service(use="tensorboard", ports={"x": 1})}, table, "board")
    assert (service.command, ports) == (("tb",), (("${TB:-1}", "${TB:-1}"),))


def test_others_are_told_by_name() -> None:
    ports = {"qa": {"http": "${QA:-80}"}, "eval": {}}
    assert told(ports, "eval", ["qa"])["WARDIAN_SERVICE_QA_URL"] == "http://qa:${QA:-80}"
    assert told(ports, "qa", [])["WARDIAN_PORT_HTTP"] == "${QA:-80}"


@given(st.lists(st.text(), min_size=1))
def test_the_text_is_read_back_as_it_was(words: list[str]) -> None:
    content = {
        "services": {"a": {"command": words, "environment": {"A": words[0], "B": None}}, "b": {"command": words}}
    }
    assert yaml.safe_load(text("one\ntwo", content)) == content

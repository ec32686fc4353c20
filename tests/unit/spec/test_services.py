"""[services]: what may be written, and every fault with its place."""

from typing import Any

import pytest

from wardian.errors import SpecError
from wardian.spec.load import Source, load
from wardian.spec.models import Service
from wardian.spec.services import Volume, volume

HEAD = '[project]\nname = "demo"\n[images.train]\nfrom = "bootstrap:debian:bookworm"\n'


def services(text: str, **variables: str) -> dict[str, Service]:
    return load([Source("wardian.toml", HEAD + text)], variables).spec.services


def faults(text: str, **variables: str) -> list[str]:
    with pytest.raises(SpecError) as raised:
        services(text, **variables)
    return [str(fault) for fault in raised.value.faults]


def test_the_example_of_the_design() -> None:
    text = """
[services.searchqa]
image = "train"
command = "wardian env serve searchqa --port ${ENV_PORT:-36001}"
ports = ["${ENV_PORT:-36001}"]
ready = { http = "/", timeout = "60s" }
profiles = ["env"]
depends-on = []
volumes = ["searchqa-data:/data"]
"""
    one = services(text)["searchqa"]
    assert one.command == ("sh", "-c", "wardian env serve searchqa --port 36001")
    assert one.ports == {"36001": 36001}
    assert one.ready is not None
    assert (one.ready.http, one.ready.timeout) == ("/", 60.0)
    assert services(text, ENV_PORT="7")["searchqa"].ports == {"7": 7}


@pytest.mark.parametrize(
    ("ports", "read"),
    [
        ("[80, '81']", {"80": 80, "81": 81}),
        ("{ http = 80, '${X:-admin}' = '${X:-82}' }", None),
        ("{ http = 80, admin = '${X:-82}' }", {"http": 80, "admin": 82}),
        ("[]", {}),
    ],
)
def test_ports_are_a_list_or_a_table(ports: str, read: dict[str, int] | None) -> None:
    text = f"[services.a]\nports = {ports}\n"
    if read is None:
        assert any("lower-case" in fault for fault in faults(text))
    else:
        assert services(text)["a"].ports == read


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("ports = [70000]", "services.a.ports: 70000 is not a port"),
        ("ports = ['x']", "services.a.ports: 'x' is not a port"),
        ("ports = [0]", "services.a.ports: 0 is not a port"),
        ("ports = { x = 0 }", "services.a.ports.x: must be at least 1, not 0"),
        ("ports = ['${NOT}']", "services.a.ports[0]: the variable NOT is not set"),
        ("portz = [1]", "services.a.portz: unknown key (did you mean ports?)"),
        ("command = []", "services.a.command: is empty"),
        ("command = ' '", "services.a.command: is empty"),
        ("command = ['']", "services.a.command: is empty"),
        ("image = 'trian'", "services.a.image: there is no image 'trian' (did you mean train?)"),
        ("use = 'jupiter'", 'services.a.use: must be "jupyter", "tensorboard" or "debugpy", not "jupiter"'),
        ("use = 'debugpy'", "services.a.command: debugpy needs a program"),
        ("user = 'me'", 'services.a.user: must be "host", "root" or "uid:gid"'),
        ("depends-on = ['b']", "services.a.depends-on[0]: there is no service 'b' (there is: a, other)"),
        ("depends-on = ['othr']", "services.a.depends-on[0]: there is no service 'othr' (did you mean other?)"),
        ("depends-on = ['a']", "services.a.depends-on: goes in a circle: a → a"),
        ("volumes = ['data']", "services.a.volumes[0]: 'data' is not SOURCE:/TARGET"),
        ("volumes = ['data:rel']", "services.a.volumes[0]: 'data:rel' is not SOURCE:/TARGET"),
        ("volumes = ['a b:/x']", "services.a.volumes[0]: 'a b' is neither a name nor a path"),
        ("volumes = ['./x:/x:shared']", "services.a.volumes[0]: './x' is a folder of yours"),
        ("volumes = ['x:/x', 'y:/x']", "services.a.volumes[1]: there is a volume at /x already"),
        ("ready = {}", "services.a.ready: names no way to know"),
        ("ready = { tcp = 1, log = 'x' }\nports = [1]", "services.a.ready: names tcp and log"),
        ("ready = { tcp = true }", "services.a.ready: the service has no port to ask by tcp"),
        ("ready = { tcp = false }\nports = [1]", "services.a.ready.tcp: must be true (the first port) or a port"),
        ("ready = { http = 'x' }\nports = [1]", "services.a.ready.http: must be an absolute path"),
        ("ready = { tcp = 2 }\nports = [1]", "services.a.ready.tcp: 2 is not a port of the service (ports: 1)"),
        ("ready = { log = '(' }", "services.a.ready.log: is not a regular expression"),
        ("ready = { log = 'x', timeout = 'soon' }", "services.a.ready.timeout: 'soon' is not a duration"),
        ("ready = { log = 'x', timeout = 0 }", "services.a.ready.timeout: "),
        ("env = { WANDB_API_KEY = 'k' }", 'services.a.env.WANDB_API_KEY: looks like a secret (write env-pass = ["WAN'),
    ],
)
def test_faults_have_their_place(body: str, fault: str) -> None:
    (found,) = faults(f"[services.a]\n{body}\n[services.other]\n")
    assert fault in found


def test_each_circle_is_told_once() -> None:
    text = "".join(f"[services.{one}]\ndepends-on = ['{other}']\n" for one, other in ("ab", "bc", "ca", "da"))
    assert [one.partition(": ")[2] for one in faults(text)] == [
        "services.a.depends-on: goes in a circle: a → b → c → a"
    ]


def test_a_shared_volume_is_shared_by_all_that_name_it() -> None:
    text = "[services.a]\nvolumes = ['d:/d:shared']\n[services.b]\nvolumes = ['d:/d']\n"
    assert "'d' is shared in services.a, and not here" in faults(text)[0]
    services(text.replace("['d:/d']", "['d:/d:ro:shared']"))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("d:/x", Volume("d", "/x")),
        ("d:/x:ro:shared", Volume("d", "/x", read_only=True, shared=True)),
        ("./a:b:/x:rw", Volume("./a:b", "/x")),
        ("~/d:/x", Volume("~/d", "/x")),
        (".:/x", Volume(".", "/x")),
    ],
)
def test_volumes_are_read(written: str, read: Volume) -> None:
    assert volume(written) == read


def test_a_volume_is_a_services_own_unless_it_is_shared() -> None:
    assert volume("data:/data").kept_as("qa") == "qa-data"
    assert volume("data:/data:shared").kept_as("qa") == "data"


def test_types_are_told_in_the_words_of_the_file() -> None:
    wrong: dict[str, Any] = {"command": "3", "ports": "3", "profiles": "'x'", "volumes": "'x'", "ready": "'/'"}
    for key, value in wrong.items():
        (fault,) = faults(f"[services.a]\n{key} = {value}\n")
        assert f"services.a.{key}: must be a " in fault

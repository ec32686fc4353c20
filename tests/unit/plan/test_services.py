"""Which services, in which order, on which ports, and what each is told."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import SpecError
from wardian.plan.services import (
    COMPOSE,
    MACHINE,
    Planned,
    Port,
    bind_source,
    complete,
    definition,
    dependencies,
    ordered,
    plan,
    port_variables,
    select,
    told,
    variables,
)
from wardian.spec.models import Ready, Service
from wardian.spec.services import volume

SERVICES = {
    "board": Service(),
    "eval": Service(depends_on=("qa", "cache"), profiles=("eval",)),
    "qa": Service(profiles=("env",), depends_on=("cache",)),
    "cache": Service(profiles=("deep",)),
}


@pytest.mark.parametrize(
    ("names", "profiles", "order"),
    [
        ([], [], ("board",)),
        ([], ["env"], ("board", "cache", "qa")),
        ([], ["eval", "env"], ("board", "cache", "qa", "eval")),
        (["qa"], [], ("cache", "qa")),
        (["qa"], ["eval"], ("cache", "qa", "eval")),
        (["board", "cache"], [], ("board", "cache")),
    ],
)
def test_dependencies_come_first_whatever_their_profile(
    names: Sequence[str], profiles: Sequence[str], order: tuple[str, ...]
) -> None:
    assert select(SERVICES, names, profiles) == order


def test_names_that_lead_nowhere_are_told_together() -> None:
    with pytest.raises(SpecError) as raised:
        select(SERVICES, ["bord", "x"], ["evil"])
    assert [str(fault) for fault in raised.value.faults] == [
        "there is no service 'bord' (did you mean board?)",
        "there is no service 'x' (there is: board, eval, qa, cache)",
        "there is no profile 'evil' (did you mean eval?)",
    ]


def test_nothing_to_start_says_what_could_be() -> None:
    with pytest.raises(SpecError, match="there is no service in the file"):
        select({}, [], [])
    with pytest.raises(SpecError, match="every service has a profile") as raised:
        select({"qa": SERVICES["cache"]}, [], [])
    assert raised.value.hint == "type: wardian up --profile deep"


def test_the_order_is_the_files_where_nothing_asks_for_another() -> None:
    assert ordered(SERVICES, {"qa", "board"}) == ("board", "cache", "qa")
    assert dependencies(SERVICES, "eval") == ("cache", "qa")
    assert dependencies(SERVICES, "board") == ()


def one(name: str = "qa", service: Service | None = None, *, outside: Sequence[int] = (), **rest: object) -> Planned:
    made = complete(service or Service())
    known = {
        "image": "train",
        "digest": "sha256:1",
        "others": {},
        "network": MACHINE,
        "definition": "d",
        "written": made,
        **rest,
    }
    return plan(name, made, outside=outside, **known)  # type: ignore[arg-type]


TWO = Service(ports={"http": 80, "admin": 81}, env={"A": "1"})


def test_in_the_sandbox_a_service_listens_on_the_port_that_is_free() -> None:
    made = one(service=TWO, outside=(8080, 81))
    assert made.ports == (Port("http", 80, 8080, 8080), Port("admin", 81, 81, 81))
    assert [port.moved for port in made.ports] == [True, False]
    assert made.env == {
        "WARDIAN_LISTEN": "127.0.0.1",
        "WARDIAN_PORT": "8080",
        "WARDIAN_PORT_HTTP": "8080",
        "WARDIAN_PORT_ADMIN": "81",
        "A": "1",
    }
    assert made.url == "http://127.0.0.1:8080"


def test_in_a_network_of_its_own_only_the_port_outside_moves() -> None:
    made = one(service=TWO, outside=(8080, 81), network=COMPOSE)
    assert made.ports[0] == Port("http", 80, 80, 8080)
    assert (made.env["WARDIAN_LISTEN"], made.env["WARDIAN_PORT"]) == ("0.0.0.0", "80")
    assert made.url == "http://127.0.0.1:8080"


def test_a_service_is_told_of_what_it_depends_on() -> None:
    qa = one("search-qa", TWO, outside=(8080, 81))
    env = one("eval", others={"search-qa": qa}).env
    assert env == {
        "WARDIAN_LISTEN": "127.0.0.1",
        "WARDIAN_SERVICE_SEARCH_QA_HOST": "127.0.0.1",
        "WARDIAN_SERVICE_SEARCH_QA_PORT": "8080",
        "WARDIAN_SERVICE_SEARCH_QA_URL": "http://127.0.0.1:8080",
        "WARDIAN_SERVICE_SEARCH_QA_PORT_ADMIN": "81",
    }
    inside = one("search-qa", TWO, outside=(8080, 81), network=COMPOSE)
    env = one("eval", others={"search-qa": inside}, network=COMPOSE).env
    assert env["WARDIAN_SERVICE_SEARCH_QA_URL"] == "http://search-qa:80"  # localhost would be itself


def test_what_the_file_says_is_over_what_is_told() -> None:
    assert one(service=Service(env={"WARDIAN_LISTEN": "::1"})).env["WARDIAN_LISTEN"] == "::1"
    assert told("a", "h", {}) == {"WARDIAN_SERVICE_A_HOST": "h"}


def test_ready_made_services_are_filled_in_and_may_be_changed() -> None:
    board = complete(Service(use="tensorboard"))
    assert board.ports == {"tensorboard": 6006}
    assert board.ready == Ready(http="/")
    assert board.command is not None
    assert '--host "$WARDIAN_LISTEN" --port "$WARDIAN_PORT"' in board.command[2]
    other = complete(Service(use="tensorboard", ports={"x": 1}, command=("tb",), gpus="all"))
    assert (other.ports, other.command, other.gpus, other.ready) == ({"x": 1}, ("tb",), "all", Ready(http="/"))
    jupyter = complete(Service(use="jupyter", env_pass=("HF_TOKEN",)))
    assert jupyter.env_pass == ("JUPYTER_TOKEN", "HF_TOKEN")


def test_debugpy_waits_for_its_client_in_front_of_a_line_or_words() -> None:
    listen = 'exec python -Xfrozen_modules=off -m debugpy --listen "$WARDIAN_LISTEN":"$WARDIAN_PORT" --wait-for-client '
    line = complete(Service(use="debugpy", command=("sh", "-c", "train.py --lr 3")))
    assert line.command == ("sh", "-c", listen + "train.py --lr 3")
    words = complete(Service(use="debugpy", command=("train.py", "a b")))
    assert words.command == ("sh", "-c", listen + '"$@"', "debugpy", "train.py", "a b")


@pytest.mark.parametrize(
    ("ports", "found"),
    [
        (["${QA_PORT:-1}", 2, "${B}"], {0: "QA_PORT", 2: "B"}),
        ({"a": 1, "b": "${B-2}"}, {1: "B"}),
        (["8${X}", "${X:-${Y}}", "$X", "1"], {}),
        ([], {}),
    ],
)
def test_ports_that_are_variables_are_known(ports: object, found: dict[int, str]) -> None:
    assert port_variables({"services": {"qa": {"ports": ports}}}, "qa") == found


def test_a_service_without_ports_has_no_variables() -> None:
    assert port_variables({"services": {"qa": {}}}, "qa") == {}


def test_a_definition_is_of_what_is_started_and_nothing_else() -> None:
    base = definition(TWO, image="sha256:1")
    assert base == definition(TWO.model_copy(update={"ready": Ready(tcp=0), "profiles": ("x",)}), image="sha256:1")
    assert base != definition(TWO, image="sha256:2")
    assert base != definition(TWO.model_copy(update={"env": {"A": "2"}}), image="sha256:1")


def test_volumes_lie_in_the_projects_folder_or_where_they_are() -> None:
    assert bind_source(volume("data:/d"), "qa", "/p/volumes") == "/p/volumes/qa-data"
    assert bind_source(volume("data:/d:shared"), "qa", "/p/volumes") == "/p/volumes/data"
    assert bind_source(volume("./x:/d"), "qa", "/p/volumes") == "./x"
    assert [one.source for one in one_with_volumes().volumes] == ["data"]


def one_with_volumes() -> Planned:
    return one(service=Service(volumes=("data:/d",)))


NAMES = ["a", "b", "c", "d", "e"]


@st.composite
def acyclic(draw: st.DrawFn) -> dict[str, Service]:
    """Services in any order, none of which depends on itself by any way."""
    order = draw(st.permutations(NAMES))
    made = {
        name: Service(
            depends_on=tuple(draw(st.lists(st.sampled_from(order[:at]), unique=True)) if at else ()),
            profiles=tuple(draw(st.lists(st.sampled_from(["p", "q"]), unique=True))),
        )
        for at, name in enumerate(order)
    }
    return {name: made[name] for name in draw(st.permutations(NAMES))}


@given(acyclic(), st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
def test_what_is_started_is_whole_and_each_after_what_it_needs(services: dict[str, Service], names: list[str]) -> None:
    order = select(services, names, [])
    assert len(set(order)) == len(order)
    assert set(names) <= set(order)
    for at, name in enumerate(order):
        assert set(services[name].depends_on) <= set(order[:at])
    needed = set(names)
    for name in reversed(order):
        assert name in needed, "and nothing that nobody needs"
        needed |= set(services[name].depends_on)


@given(acyclic(), st.lists(st.sampled_from(["p", "q"]), unique=True))
def test_profiles_add_and_never_take_away(services: dict[str, Service], profiles: list[str]) -> None:
    known = {profile for one in services.values() for profile in one.profiles}
    wanted = [profile for profile in profiles if profile in known]
    plain = {name for name, one in services.items() if not one.profiles}
    if not plain and not wanted:
        with pytest.raises(SpecError, match="every service has a profile"):
            select(services, [], wanted)
        return
    found = set(select(services, [], wanted))
    assert plain <= found
    assert {name for name, one in services.items() if set(one.profiles) & set(wanted)} <= found
    if plain:
        assert set(select(services, [], [])) <= found


@given(acyclic(), st.sampled_from(NAMES))
def test_what_a_service_depends_on_is_told_to_it_and_nothing_else(services: dict[str, Service], name: str) -> None:
    ports = {other: {"http": 1000 + at} for at, other in enumerate(NAMES)}
    beside = {other: ports[other] for other in dependencies(services, name)}
    env = variables(MACHINE, ports[name], beside)
    assert env["WARDIAN_PORT"] == str(ports[name]["http"])
    told_of = {key.split("_")[2].lower() for key in env if key.startswith("WARDIAN_SERVICE_")}
    assert told_of == set(beside)
    assert name not in told_of


@given(st.text(min_size=1, max_size=30), st.text(max_size=30))
def test_a_definition_tells_any_two_commands_apart(one: str, other: str) -> None:
    first, second = (definition(Service(command=("sh", "-c", text)), image="i") for text in (one, other))
    assert (first == second) is (one == other)
    assert first == definition(Service(command=("sh", "-c", one)), image="i")

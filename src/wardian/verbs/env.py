"""`wardian env`: serve an environment to agents over HTTP, list what there is, check a server that runs."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any, TypeVar

import click

from wardian.errors import SpecError, Unavailable, WardianError
from wardian.verbs import verb
from wardian.workspace import Workspace

_Command = TypeVar("_Command", bound=Callable[..., Any])
SERVE = """\
wardian env serve babyai --port 36001
wardian env serve babyai --mode agentgym     # to compare with AgentGym's own server
wardian env serve gymnasium:CartPole-v1 --workers 2 --max-sessions 512"""
TOLD = {"host": ("WARDIAN_LISTEN",), "port": ("WARDIAN_PORT",)}  # what services get from Wardian
CHECK = """\
wardian env check http://127.0.0.1:36001
wardian env check http://127.0.0.1:36001 --items 8 --json"""


def _limit(name: str, kind: Any, default: Any, text: str) -> Callable[[_Command], _Command]:
    """An option that ``WARDIAN_ENV_<NAME>`` may set too, or what Wardian tells a service."""
    variable = ["WARDIAN_ENV_" + name.upper().replace("-", "_"), *TOLD.get(name, ())]
    return click.option(
        f"--{name}", type=kind, default=default, show_default=default is not None, envvar=variable, help=text
    )


@verb("serve", example=SERVE)
@_limit("host", str, "127.0.0.1", "The address to listen on.")
@_limit("port", click.IntRange(0, 65535), 36001, "0: any that is free.")
@_limit("mode", click.Choice(["strict", "agentgym"]), "strict", "agentgym: as its servers do, faults included.")
@_limit("workers", click.IntRange(1, 256), 1, "Processes behind the port.")
@_limit("max-sessions", click.IntRange(1), None, "Of all processes; by default the environment's.")
@_limit("idle-ttl", click.FloatRange(0.1), 3600.0, "Seconds after which a session that nobody uses is closed.")
@_limit("unused-ttl", click.FloatRange(0.1), 900.0, "The same for one that was never reset.")
@_limit("max-steps", click.IntRange(0), 0, "Of an episode; 0: the environment's own limit.")
@_limit("max-body", click.IntRange(64), 1 << 20, "Bytes of a request.")
@_limit("max-action", click.IntRange(1), 16 << 10, "Bytes of an action.")
@_limit("step-timeout", click.FloatRange(0.01), 60.0, "Seconds a step may take.")
@click.option("--with", "options", multiple=True, metavar="KEY=VALUE", help="An option of the environment.")
@click.option("--token-env", metavar="NAME", help="The variable with the token that clients have to show.")
@click.argument("env", metavar="ENV")
def serve(workspace: Workspace, env: str, *, token_env: str | None, options: tuple[str, ...], **given: Any) -> None:
    """Serve an environment until ^C or SIGTERM.

    ENV is a name of `wardian env list`. On one port it speaks AgentGym's protocol for that environment, one protocol
    for all environments (/batch/…), and OpenEnv's WebSocket (/ws); /health, /info and /metrics tell how it does.
    """
    from wardian.envs.drivers import kind_of
    from wardian.envs.serving import Server
    from wardian.envs.serving import serve as run
    from wardian.envs.sessions import Limits

    host, port, workers = (given.pop(name) for name in ("host", "port", "workers"))
    token = os.environ.get(token_env) if token_env else None
    if token_env and not token:
        raise SpecError(f"{token_env} is not set, and is to hold the token", hint=f"type: export {token_env}=…")
    chosen = _options(env, options)
    room = given.pop("max_sessions") or kind_of(env, chosen).max_sessions
    if workers > room:
        raise SpecError(f"{workers} processes for {room} sessions", hint="give --max-sessions, or fewer --workers")
    server = Server(env, host, port, Limits(max_sessions=room, **given), workers, token, chosen)
    if host not in ("127.0.0.1", "localhost", "::1") and token is None:
        workspace.console.note(f"{host} is open to others, and no token is wanted: --token-env NAME wants one")

    def ready(url: str) -> None:
        said = f"{env} on {url} ({server.limits.mode}, {room} sessions); ^C ends it"
        workspace.console.answer(said, {"env": env, "url": url, "workers": workers, **asdict(server.limits)})

    run(server, ready)


def _options(env: str, given: tuple[str, ...]) -> dict[str, str]:
    """What sets an environment up: ``WARDIAN_ENV_<KEY>``, and over it ``--with KEY=VALUE``."""
    from wardian.envs.drivers import DRIVERS

    driver = DRIVERS.get(env.partition(":")[0])
    known = driver.options if driver else {}
    chosen = {key: os.environ[name] for key in known if (name := f"WARDIAN_ENV_{key.upper()}") in os.environ}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals:
            raise SpecError(f"--with {one!r} has no '='", hint="as in --with corpus=wiki.jsonl")
        chosen[key] = value
    return chosen


@verb("list", example="wardian env list\nwardian env list --json")
def list_(workspace: Workspace) -> None:
    """List the environments, and whether this Python has what each needs."""
    from wardian.envs.drivers import DRIVERS, lacking

    rows, data = [], []
    for name, driver in DRIVERS.items():
        missing = lacking(driver)
        state = f"install 'wardian[{driver.extra}]'" if missing else "ready"
        rows.append((name, driver.summary, state))
        data.append(
            {"name": name, **{key: value for key, value in asdict(driver).items() if key != "make"}, "missing": missing}
        )
    workspace.console.table(("ENV", "WHAT IT IS", "HERE"), rows, data)


@verb("check", example=CHECK)
@click.option("--items", type=click.IntRange(1, 1000), default=3, show_default=True, help="How many to begin.")
@click.option("--token-env", metavar="NAME", help="The variable with the token to show.")
@click.argument("url", metavar="URL")
def check(workspace: Workspace, url: str, items: int, token_env: str | None) -> None:
    """Try a server that runs: begin some items, act in each, close all; twice the same item has to look the same."""
    import httpx

    headers = {"authorization": f"Bearer {os.environ.get(token_env, '')}"} if token_env else {}
    times: list[float] = []

    def post(path: str, data: Any) -> Any:
        start = time.perf_counter()
        answer = client.post(path, json=data)
        times.append(time.perf_counter() - start)
        if answer.status_code != 200:
            raise WardianError(f"{url}{path}: {answer.status_code} {answer.text[:200]}")
        return answer.json()

    try:
        with httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=60, trust_env=False) as client:
            about = client.get("/info")
            if about.status_code != 200:
                raise WardianError(f"{url}/info: {about.status_code}", hint="is this a server of wardian env serve?")
            info = about.json()
            ids = post("/batch/create", {"count": 2})["ids"]
            try:
                faults = [fault for item in range(items) for fault in _tried(post, ids, item)]
            finally:
                post("/batch/close", {"ids": ids})
    except (httpx.HTTPError, ValueError) as error:
        raise Unavailable(f"{url}: {error}", hint="type: wardian env serve …") from error
    p50 = round(median(times) * 1000, 2)
    if faults:
        raise WardianError(f"{url}: {'; '.join(faults)}")
    workspace.console.answer(
        f"{info['env']} ({info['mode']}): {items} items begun and acted in, p50 {p50} ms",
        {"url": url, "info": info, "items": items, "requests": len(times), "p50_ms": p50},
    )


def _tried(post: Any, ids: list[int], item: int) -> list[str]:
    """Begin an item in both sessions, do what is no action, and say what is wrong with the answers."""
    both = post("/batch/reset", {"sessions": [{"id": number, "item": item} for number in ids]})["results"]
    if any("error" in one for one in both):
        return [f"item {item}: {next(one['error'] for one in both if 'error' in one)}"]
    faults = []
    if both[0]["observation"] != both[1]["observation"]:
        faults.append(f"item {item} begins differently each time")
    acted = post("/batch/step", {"sessions": [{"id": ids[0], "action": "?"}]})["results"][0]
    if "error" in acted:
        faults.append(f"item {item}: {acted['error']}")
    return faults


command = click.Group(
    "env",
    commands=[serve, list_, check],
    help="Serve environments to agents over HTTP.",
    epilog="\b\nExample:\n  wardian env serve babyai --port 36001",
)

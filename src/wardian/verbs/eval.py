"""`wardian eval`: play an environment's items by a language model, and say how well it did."""

import os
import re
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wardian.errors import SpecError
from wardian.verbs import verb
from wardian.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wardian.envs.evaluation.running import Evaluation, Tell

EXAMPLE = """\
wardian eval babyai --model gpt-4o-mini --max-rounds 10 --env-url http://127.0.0.1:36001
wardian eval babyai --model qwen --base-url http://127.0.0.1:8000/v1 --items AgentEval/babyai/babyai_test.json
wardian eval babyai --model qwen --samples 4 --concurrency 32 --output results/qwen
wardian eval babyai --reverify results/qwen  # what the environment says of the same actions"""
OPENAI = "https://api.openai.com/v1"


@verb("eval", example=EXAMPLE)
@click.option("--model", metavar="NAME", help="As the model's server names it.")
@click.option("--base-url", envvar="OPENAI_BASE_URL", default=OPENAI, help="Of an OpenAI-compatible server.")
@click.option("--api-key-env", default="OPENAI_API_KEY", show_default=True, help="The variable with the key.")
@click.option("--env-url", default="http://127.0.0.1:36001", show_default=True, help="Of wardian env serve.")
@click.option("--env-token-env", metavar="NAME", help="The variable with the environment's token.")
@click.option("--items", type=click.Path(path_type=Path), metavar="FILE", help="A list of AgentEval or AgentItemId.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="So many items; without --items: 200.")
@click.option("--samples", type=click.IntRange(1, 1000), default=1, show_default=True, help="Of each item.")
@click.option("--max-rounds", type=click.IntRange(1), default=10, show_default=True, help="Of an item.")
@click.option("--format", "form", type=click.Choice(["react", "plain"]), default="react", show_default=True)
@click.option("--concurrency", type=click.IntRange(1, 1024), default=8, show_default=True, help="Items at once.")
@click.option("--temperature", type=click.FloatRange(0), default=1.0, show_default=True)
@click.option("--top-p", type=click.FloatRange(0, 1), default=1.0, show_default=True)
@click.option("--max-tokens", type=click.IntRange(1), default=4096, show_default=True, help="Of an answer.")
@click.option("--seed", type=int, metavar="N", help="Sent with each request.")
@click.option("--timeout", type=click.FloatRange(0.1), default=300.0, show_default=True, help="Seconds of a request.")
@click.option("--tries", type=click.IntRange(1), default=6, show_default=True, help="Of a request.")
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Default: results/ENV-MODEL.")
@click.option("--reverify", type=click.Path(path_type=Path), metavar="DIR", help="Replay the results of a folder.")
@click.option("--dry-run", is_flag=True, help="Only say what would be played.")
@click.argument("env", metavar="ENV")
def command(workspace: Workspace, env: str, **given: Any) -> int:
    """Play an environment's items by a language model; a file for each, a summary, a picture.

    An item that has a good result is not played again, so the same line goes on where it stopped. Exit code 0: all
    items were played; 1: some have errors, or --reverify found differences; 2: nothing can be played like this.
    """
    from wardian.envs.client import Client

    token = _secret(given["env_token_env"]) if given["env_token_env"] else None
    with Client(given["env_url"], token=token) as client:
        info = client.info()
    if info["env"] != env:
        raise SpecError(f"{given['env_url']} serves {info['env']}, not {env}", hint=f"type: wardian env serve {env}")
    if given["reverify"]:
        return _reverify(workspace, info, given, token)
    if not given["model"]:
        raise SpecError("name a model: --model NAME")
    evaluation = _evaluation(env, info, given, token)
    count = len(evaluation.items.numbers) * evaluation.samples
    if given["dry_run"]:
        text = f"would play {count} episodes of {env} ({info['mode']}) by {given['model']} into {evaluation.folder}"
        workspace.console.answer(text, {"episodes": count, "output": str(evaluation.folder), "info": info})
        return 0
    return _run(workspace, evaluation, info, given)


def _evaluation(env: str, info: Mapping[str, Any], given: Mapping[str, Any], token: str | None) -> "Evaluation":
    from wardian.envs.drivers import DRIVERS
    from wardian.envs.evaluation import items
    from wardian.envs.evaluation.playing import Rules
    from wardian.envs.evaluation.running import Evaluation

    chosen = (
        items.read(given["items"], given["limit"], env, DRIVERS)
        if given["items"]
        else items.first(info["items"], given["limit"])
    )
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{env}-{given['model']}")
    folder = given["output"] or Path("results") / name
    return Evaluation(
        Rules(env, given["form"], given["max_rounds"]), chosen, given["samples"], folder, given["env_url"], token
    )


def _run(workspace: Workspace, evaluation: "Evaluation", info: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    from wardian.envs.evaluation.chat import Model
    from wardian.envs.evaluation.running import conclude, evaluate, finished, settle

    key = os.environ.get(given["api_key_env"])
    if not key and given["base_url"] == OPENAI:
        raise SpecError(f"{given['api_key_env']} is not set", hint=f"type: export {given['api_key_env']}=…")
    more = {name: given[name] for name in ("temperature", "top_p", "max_tokens")}
    if given["seed"] is not None:
        more["seed"] = given["seed"]
    rules = evaluation.rules
    settle(
        evaluation,
        {"env": rules.env, "mode": info["mode"], "model": given["model"], "format": rules.form,
         "max_rounds": rules.max_rounds, **more},
    )  # fmt: skip
    model = Model(given["model"], given["base_url"], more, given["timeout"], given["tries"])
    with _progress(
        workspace, f"{rules.env} by {model.name}", len(evaluation.items.numbers) * evaluation.samples
    ) as tell:
        finished(evaluate(evaluation, model, key, given["concurrency"], tell))
    said = conclude(evaluation, info, f"{rules.env} by {model.name}")
    _answer(workspace, evaluation, said)
    return 1 if said["all"]["errors"] or said["missing"] else 0


def _reverify(workspace: Workspace, info: Mapping[str, Any], given: Mapping[str, Any], token: str | None) -> int:
    import json

    from wardian.envs.evaluation.items import Items
    from wardian.envs.evaluation.playing import Rules
    from wardian.envs.evaluation.running import SETTINGS, Evaluation, conclude, finished, read, reverify, stem

    folder: Path = given["reverify"]
    try:
        settings = json.loads((folder / SETTINGS).read_text())
        rules = Rules(settings["env"], settings["format"], settings["max_rounds"])
    except (OSError, ValueError, KeyError) as error:
        raise SpecError(f"{folder} has no results of wardian eval: {error}") from error
    if settings["mode"] != info["mode"]:
        raise SpecError(f"{folder} was played in mode {settings['mode']}, and the server is in {info['mode']}")
    had = [one for path in sorted(folder.glob(f"{stem(rules.env)}_*.json")) if (one := read(path))]
    samples = 1 + max((one["sample"] for one in had), default=0)
    numbers = tuple(dict.fromkeys(one["item"] for one in had))
    categories = {
        name: frozenset(one["item"] for one in had if name in one.get("categories", ()))
        for name in sorted({name for one in had for name in one.get("categories", ())})
    }
    evaluation = Evaluation(rules, Items(numbers, categories), samples, folder, given["env_url"], token)
    with _progress(workspace, f"{rules.env} again", len(had)) as tell:
        differences = finished(reverify(evaluation, tell))
    for difference in differences:
        workspace.console.note(difference)
    said = conclude(evaluation, info, f"{rules.env} by {settings['model']}")
    _answer(workspace, evaluation, {**said, "differences": differences})
    return 1 if differences else 0


def _answer(workspace: Workspace, evaluation: "Evaluation", said: Mapping[str, Any]) -> None:
    """The table; where the files are."""
    rows = [(name, *_row(one, evaluation.samples)) for name, one in (("all", said["all"]), *said["categories"].items())]
    passed = f"PASS@{evaluation.samples}"
    head = (
        "ITEMS OF",
        "N",
        "SCORE",
        "SUCCESS",
        "REF.",
        f"AVG@{evaluation.samples}",
        passed,
        "ROUNDS",
        "INVALID",
        "ERRORS",
        "TOKENS",
    )
    workspace.console.table(head, rows, {**said, "output": str(evaluation.folder)})
    workspace.console.note(f"success: {said['success_means']}; {evaluation.folder}/summary.json, summary.svg")


def _row(one: Mapping[str, Any], samples: int) -> tuple[str, ...]:
    score = _shown(one["score"]) + (f" ± {one['score_95']:.2g}" if one["items"] else "")
    names = ("success", "reference_success", "rounds", "invalid_actions")
    success, reference, rounds, invalid = (_shown(one[name]) for name in names)
    average, passed = (_shown(one[name][str(samples)]) for name in ("avg_at_k", "pass_at_k"))
    tokens = "+".join(map(str, one["tokens"]))
    return str(one["items"]), score, success, reference, average, passed, rounds, invalid, str(one["errors"]), tokens


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _secret(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise SpecError(f"{name} is not set", hint=f"type: export {name}=…")
    return value


@contextmanager
def _progress(workspace: Workspace, title: str, total: int) -> "Iterator[Tell]":
    """Tell of each episode on stderr."""
    done = solved = failed = 0
    with workspace.console.progress() as tasks, tasks.task(title, total) as task:

        def tell(told: Mapping[str, Any]) -> None:
            nonlocal done, solved, failed
            done, solved, failed = done + 1, solved + bool(told["success"]), failed + bool(told["error"])
            task.advance(1)
            task.say(f"{done} of {total}, {solved} solved" + (f", {failed} with errors" if failed else ""))

        yield tell

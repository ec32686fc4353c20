"""A model's words → an action; what a model is told to say."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

REACT = "Your response should use the following format:\nThought:\n<Your Thought>\n\nAction:\n<Your Action>"
PLAIN = "Answer with the action and nothing else."
AGREED = "OK. I'll follow your instructions and try my best to solve the task."
SEVERAL = "Error: Only one 'Action' is allowed per response. Please adjust your response."
_ACTION = re.compile(r"Action:\s*(.*?)(?=\n|$)", re.DOTALL)
_STRANGE = re.compile(r"[^A-Za-z0-9, ]+")


class Several(Exception):
    """A response with more than one action: the environment is not asked."""


def opening(info: Mapping[str, Any], form: str) -> list[dict[str, str]]:
    """The messages before the first observation, as AgentGym's clients begin.

    An environment whose actions are text says in its first observation how to answer.
    """
    if info["actions"] == "text":
        return []
    told = f"{info['system']}\n\n{REACT if form == 'react' else PLAIN}"
    return [{"role": "user", "content": told}, {"role": "assistant", "content": AGREED}]


def action(said: str, kind: str, form: str) -> str:
    r"""The action in a response, by the rule of AgentGym's clients. Raises ``Several``.

    >>> action("Thought:\nleft is free\n\nAction:\nturn left!", "words", "react")
    'turn left'
    """
    if kind == "text":
        return said
    if form == "react":
        found: Sequence[str] = _ACTION.findall(said)
        if len(found) > 1:
            raise Several
        said = found[0] if found else ""
    if kind == "words":
        return " ".join(_STRANGE.sub("", said).split())
    return said.strip()

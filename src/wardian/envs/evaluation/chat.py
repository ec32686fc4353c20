"""A language model behind an OpenAI-compatible server: chat completions, with bounded patience."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from wardian.errors import SpecError

LONGEST = 60.0  # seconds between two tries
RETRIED = {408, 409, 425, 429}
FATAL = {401: "the key is wrong or not wanted", 403: "the key may not use this", 404: "no such model or address"}


class ModelRefused(SpecError):
    """The server will never answer this way: a wrong key, a model it has not."""


class NoAnswer(Exception):
    """A request had no usable answer, after all tries."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said. ``tokens`` are those of the prompt and of the answer, as the server counts them."""

    content: str
    reasoning: str | None
    tokens: tuple[int, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Model:
    """How a model is asked; ``more`` goes into each request (temperature, top_p, max_tokens, seed)."""

    name: str
    base_url: str
    more: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 300
    tries: int = 6


class Chat:
    """Connections to a model's server, as many as there are requests. ``key`` is sent and never told."""

    def __init__(self, model: Model, key: str | None) -> None:
        self.model = model
        self._key = key
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.AsyncClient(
            base_url=model.base_url.rstrip("/"),
            headers=headers,
            timeout=httpx.Timeout(model.timeout, connect=30),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )
        self._chance = random.Random()  # noqa: S311 - spreads tries

    async def ask(self, messages: Sequence[Mapping[str, Any]], sample: int = 0) -> Answer:
        """The model's next message; each sample of an item has a seed of its own.

        Raises ``ModelRefused``, which ends all, and ``NoAnswer``.
        """
        body = {"model": self.model.name, "messages": list(messages), **self.model.more}
        if "seed" in body:
            body["seed"] += sample
        start, why, delay = time.monotonic(), "", 0.0
        for tried in range(self.model.tries):
            if tried:
                await asyncio.sleep(delay)
            delay = min(LONGEST, 2.0**tried * (0.5 + self._chance.random() / 2))
            try:
                answer = await self._http.post("/chat/completions", json=body)
            except httpx.HTTPError as error:
                why = f"{type(error).__name__} {error}".strip()
                continue
            if fatal := _fatal(answer):
                raise ModelRefused(
                    f"{self.model.base_url}: {answer.status_code}, {fatal}", hint=self._said(answer) or None
                )
            if answer.status_code == 200:
                try:
                    return _read(answer.json(), time.monotonic() - start)
                except (ValueError, KeyError, IndexError, TypeError) as error:
                    why = f"an answer without a message ({type(error).__name__})"
                    continue
            why = f"{answer.status_code} {self._said(answer)}"
            if answer.status_code < 500 and answer.status_code not in RETRIED:
                break
            delay = _after(answer, delay)
        raise NoAnswer(f"{why} ({tried + 1} {'try' if not tried else 'tries'})")

    def _said(self, answer: httpx.Response) -> str:
        """The server's own words on what is wrong, one line; some repeat the key."""
        error = _error(answer)
        said = error.get("message", error) if isinstance(error, dict) else error
        line = " ".join(str(said or answer.text).split())
        return (line.replace(self._key, "…") if self._key else line)[:200]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()


def _read(said: Any, seconds: float) -> Answer:
    message = said["choices"][0]["message"]
    content = message["content"]
    if content is None:  # all tokens went into reasoning, or a filter: an answer, and an empty one
        content = ""
    if not isinstance(content, str):
        raise TypeError("no content")
    usage = said.get("usage") or {}
    tokens = (int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
    return Answer(content, message.get("reasoning_content"), tokens, seconds)


def _error(answer: httpx.Response) -> Any:
    """What a server gives as the error, most often ``{"message": …, "code": …}``; None: nothing that can be read."""
    try:
        return answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return None


def _fatal(answer: httpx.Response) -> str | None:
    """Why the server will never answer; None: it may. OpenAI says "no credit left" with the status of "slower"."""
    error = _error(answer) if answer.status_code == 429 else None
    if isinstance(error, dict) and error.get("code") == "insufficient_quota":
        return "the account has no credit left"
    return FATAL.get(answer.status_code)


def _after(answer: httpx.Response, delay: float) -> float:
    after = answer.headers.get("retry-after", "")
    return min(LONGEST, float(after)) if after.replace(".", "", 1).isdecimal() else delay

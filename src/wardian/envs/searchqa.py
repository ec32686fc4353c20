"""SearchQA as AgentGym serves it: answer a question after searching a corpus, with a retriever of ours or another's.

``questions=FILE`` are JSON lines ``{"id", "question", "golden_answers", "data_source"?}`` (FlashRAG's). What is
searched is ``corpus=FILE``, JSON lines ``{"id", "contents"}`` (contents: a title in quotes, a line end, the text), by
BM25 in this process; or ``retriever=URL``, a server of Search-R1's `/retrieve`, which this one serves too.
"""

import importlib.metadata
import json
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from wardian.envs.base import NoSuchItem, Turn, Wire
from wardian.errors import SpecError, Unavailable, WardianError

ACTION = re.compile(r"<(search|answer)>(.*?)</\1>", re.DOTALL)
PROMPT = (
    "You must reason inside <think>...</think> first. If you do not have enough knowledge, issue a "
    "<search>...</search> and then STOP. Do not generate <information> or <answer> yet. Wait for external input "
    "wrapped in <information>...</information>. After receiving information, reason again in <think>. If "
    "confident, output your final answer in <answer>...</answer>. Do not output <answer> before receiving "
    "<information> unless you are fully confident. If you find no further external knowledge needed, you can "
    "directly provide the answer inside <answer> and </answer>, without detailed illustrations. For example, "
    "<answer> Beijing </answer>. Follow this process every time.\n\n Question: {question}"
)
INVALID = (
    "Your previous action is invalid. If you want to search, you should put the query between <search> and "
    "</search>. If you want to give the final answer, you should put the answer between <answer> and </answer>. "
    "Please try again."
)
RIGHT = "Congratulations! You have answered the question correctly."
WRONG = "Sorry, your answer is incorrect. Please try again."
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(answer: str) -> str:
    """An answer as exact match compares it: lower case, without punctuation and articles (SQuAD's rule).

    >>> normalized("The  Eiffel-Tower!")
    'eiffeltower'
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


class Retriever(Protocol):
    """Finds passages."""

    def search(self, query: str, count: int) -> list[tuple[dict[str, Any], float]]:
        """The best passages – ``{"id", "contents"}`` – with a score each, best first."""
        ...


class Corpus:
    """Passages of a file, found by BM25. The passages stay in the file; the index is in memory, or in ``index``."""

    def __init__(self, path: Path, index: Path | None = None) -> None:
        import bm25s
        import numpy as np

        self._path = path
        offsets, texts = self._read()
        self._offsets = np.array(offsets, dtype=np.int64)
        if not texts:
            raise WardianError(f"{path} has no passage")
        seal = {"size": path.stat().st_size, "mtime": path.stat().st_mtime_ns, "bm25s": bm25s.__version__}
        kept = index / "wardian.json" if index else None
        if index and kept and kept.is_file() and json.loads(kept.read_text()) == seal:
            self._index = bm25s.BM25.load(str(index), mmap=True)
        else:
            self._index = bm25s.BM25(method="lucene")
            self._index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
            if index and kept:
                index.mkdir(parents=True, exist_ok=True)
                kept.unlink(missing_ok=True)
                self._index.save(str(index))
                kept.write_text(json.dumps(seal))
        self._file = path.open("rb")

    def _read(self) -> tuple[list[int], list[str]]:
        offsets, texts, at = [], [], 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        texts.append(json.loads(line)["contents"])
                    except (ValueError, KeyError, TypeError) as error:
                        raise WardianError(f"{self._path}:{number} is no passage: {error}") from error
                    offsets.append(at)
                at += len(line)
        return offsets, texts

    def search(self, query: str, count: int) -> list[tuple[dict[str, Any], float]]:
        """The best passages; none for a query without a word of the corpus."""
        import bm25s

        tokens = bm25s.tokenize([query], stopwords="en", return_ids=False, show_progress=False)
        if not tokens[0]:
            return []
        count = min(count, len(self._offsets))
        found, scores = self._index.retrieve(tokens, k=count, show_progress=False)
        return [
            (self._passage(int(at)), float(score))
            for at, score in zip(found[0], scores[0], strict=True)
            if float(score) > 0
        ]

    def _passage(self, at: int) -> dict[str, Any]:
        import os

        start = int(self._offsets[at])
        size = 1 << 16
        while b"\n" not in (data := os.pread(self._file.fileno(), size, start)) and len(data) == size:
            size *= 4
        said = json.loads(data.partition(b"\n")[0])
        return {"id": str(said.get("id", at)), "contents": said["contents"]}

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Remote:
    """A server of Search-R1's `/retrieve`."""

    def __init__(self, url: str) -> None:
        import httpx

        self._url = url if url.rstrip("/").endswith("/retrieve") else url.rstrip("/") + "/retrieve"
        self._client = httpx.Client(timeout=30)

    def search(self, query: str, count: int) -> list[tuple[dict[str, Any], float]]:
        """The best passages. Raises ``Unavailable`` when the server does not answer as it should."""
        import httpx

        try:
            answer = self._client.post(self._url, json={"queries": [query], "topk": count, "return_scores": True})
            answer.raise_for_status()
            return [(self._document(one), float(one.get("score", 0))) for one in answer.json()["result"][0]]
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise Unavailable(f"the retriever {self._url} failed: {type(error).__name__} {error}") from error

    def _document(self, one: Mapping[str, Any]) -> dict[str, Any]:
        document = one.get("document", one)
        return {"id": str(document.get("id", "")), "contents": document["contents"]}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class SearchQAEpisode:
    """One question."""

    __slots__ = ("_answers", "_environment", "_golden", "_hit", "prompt")

    def __init__(self, environment: "SearchQA", question: Mapping[str, Any]) -> None:
        self._environment, self._golden = environment, [normalized(one) for one in question["golden_answers"]]
        self._answers, self._hit = 0, False
        self.prompt = PROMPT.format(question=question["question"].strip())

    def first(self) -> Turn:
        """The prompt with the question."""
        return Turn(self.prompt)

    def step(self, response: str) -> Turn:
        """Do the first search or answer in a model's text."""
        match = ACTION.search(response)
        if not match:
            return Turn(INVALID, valid=False)
        said = match[2].strip()
        if match[1] == "search":
            passages = self._environment.search(said)
            self._hit = self._hit or any(golden in normalized(one) for one in passages for golden in self._golden)
            return Turn(f"<information>{told(passages).strip()}</information>", extra={"hit": self._hit})
        self._answers += 1
        right = normalized(said) in self._golden
        limit = self._environment.answers
        done = right or bool(limit and self._answers >= limit)
        return Turn(RIGHT if right else WRONG, int(right), done, success=right, extra={"hit": self._hit})

    def close(self) -> None:
        """Nothing is held."""


def told(passages: Sequence[str]) -> str:
    """Passages as the model reads them."""
    parts = [(contents.partition("\n")[0], contents.partition("\n")[2]) for contents in passages]
    return "".join(f"Doc {at}(Title: {title}) {text}\n" for at, (title, text) in enumerate(parts, 1))


def retrieve(environment: "SearchQA", data: Mapping[str, Any]) -> dict[str, Any]:
    """Search-R1's `/retrieve`: ``{"queries", "topk", "return_scores"}``."""
    queries, count = data.get("queries"), data.get("topk")
    count = environment.count if count is None else count
    if not isinstance(queries, list) or not all(isinstance(one, str) for one in queries) or len(queries) > 1024:
        raise NoSuchItem("queries is a list of strings, 1024 at most")
    if type(count) is not int or not 1 <= count <= 100:
        raise NoSuchItem("topk is 1 to 100")
    found = [environment.retriever.search(query, count) for query in queries]
    if data.get("return_scores"):
        return {"result": [[{"document": one, "score": score} for one, score in some] for some in found]}
    return {"result": [[one for one, _ in some] for some in found]}


def _item(data: Mapping[str, Any]) -> int:
    if type(data.get("id", 0)) is not int:
        raise NoSuchItem("id is the number of a question")
    return int(data.get("id", 0))


class SearchQA:
    """All questions of a file."""

    name = "searchqa"
    max_score = 1.0
    success = "reward == 1"
    system = "Answer the question. Search with <search>query</search>, answer with <answer>answer</answer>."
    actions = "text"
    blocking = True
    max_sessions = 1024
    wire = Wire(
        "This is environment SearchQA.",
        session="env_idx",
        item="id",
        item_default=0,
        created=lambda number, _: number,
        create_item=_item,
        reset=lambda _, turn: turn.text,
        step=lambda _, turn: {"observation": turn.text, "reward": turn.reward, "done": turn.done, "info": None},
        observation=lambda _, turn: turn.text,
        asked={"/retrieve": retrieve},
    )

    def __init__(self, *, agentgym: bool = False, **options: str) -> None:
        self.count = _number(options, "topk", 3)
        self.answers = _number(options, "answers", 0 if agentgym else 1)
        if "questions" not in options or ("corpus" in options) == ("retriever" in options):
            raise SpecError(
                "searchqa wants questions, and one of corpus and retriever",
                hint="for example --with questions=test.jsonl --with corpus=wiki.jsonl",
            )
        self._questions = _questions(Path(options["questions"]))
        self.items: int | None = len(self._questions)
        index = Path(options["index"]) if "index" in options else None
        self.retriever: Corpus | Remote = (
            Corpus(Path(options["corpus"]), index) if "corpus" in options else Remote(options["retriever"])
        )

    def search(self, query: str) -> list[str]:
        """The contents of the best passages."""
        return [str(one["contents"]) for one, _ in self.retriever.search(query, self.count)]

    def start(self, item: int, seed: int | None) -> tuple[SearchQAEpisode, Turn]:
        """Begin with a question; a seed changes nothing."""
        if not 0 <= item < len(self._questions):
            raise NoSuchItem(f"Item id {item} is out of range.")
        episode = SearchQAEpisode(self, self._questions[item])
        return episode, episode.first()

    def versions(self) -> Mapping[str, str]:
        """Of what ranks the passages."""
        return {"bm25s": importlib.metadata.version("bm25s")} if isinstance(self.retriever, Corpus) else {}

    def close(self) -> None:
        """Let go of the corpus, or of the retriever's connections."""
        self.retriever.close()


def _number(options: Mapping[str, str], name: str, default: int) -> int:
    value = options.get(name, str(default))
    if not value.isdecimal() or len(value) > 6:
        raise SpecError(f"{name} is a number, not {value!r}")
    return int(value)


def _questions(path: Path) -> list[dict[str, Any]]:
    """The questions of a file. Raises ``WardianError`` with the line that is none."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            answers = said["golden_answers"]
            answers = [answers] if isinstance(answers, str) else list(answers)
            found.append({"question": str(said["question"]), "golden_answers": [str(one) for one in answers]})
        except (ValueError, KeyError, TypeError) as error:
            raise WardianError(f"{path}:{number} is no question: {type(error).__name__} {error}") from error
    if not found:
        raise WardianError(f"{path} has no question")
    return found

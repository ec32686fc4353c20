"""SearchQA: the texts, exact match, both retrievers, and files that are none."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wardian.envs.base import NoSuchItem
from wardian.envs.searchqa import Corpus, SearchQA, normalized, retrieve
from wardian.errors import SpecError, WardianError

QUESTIONS = [
    {"id": "1", "question": "Who wrote Faust? ", "golden_answers": ["Goethe", "Johann Wolfgang von Goethe"]},
    {"id": "2", "question": "Where is the tower?", "golden_answers": "Paris"},
]
PASSAGES: list[dict[str, Any]] = [
    {"id": "a", "contents": '"Faust"\nFaust is a tragic play by Johann Wolfgang von Goethe.'},
    {"id": "b", "contents": '"Eiffel Tower"\nThe tower stands in Paris, France.\nIt is high.'},
    {"id": "c", "contents": '"Hamlet"\nA tragedy by William Shakespeare. ' + "word " * 30_000},
    {"id": 4, "contents": '"Ünïcode"\nÄpfel 🍎'},
]


def lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def made(files: dict[str, str]) -> Iterator[Callable[..., SearchQA]]:
    """Environments over the files, which are closed."""
    begun: list[SearchQA] = []

    def make(**options: Any) -> SearchQA:
        begun.append(SearchQA(**{**files, **options}))
        return begun[-1]

    yield make
    for one in begun:
        one.close()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return {"questions": lines(tmp_path / "q.jsonl", QUESTIONS), "corpus": lines(tmp_path / "c.jsonl", PASSAGES)}


def test_search_then_answer(made: Callable[..., SearchQA]) -> None:
    episode, turn = made().start(0, None)
    assert turn.text.endswith("Follow this process every time.\n\n Question: Who wrote Faust?")
    found = episode.step("<think>hm</think><search> the play Faust </search> <answer>not read</answer>")
    assert found.text == (
        '<information>Doc 1(Title: "Faust") Faust is a tragic play by Johann Wolfgang von Goethe.</information>'
    )
    assert (found.reward, found.done, dict(found.extra)) == (0, False, {"hit": True})
    right = episode.step("<answer>\n the GOETHE! </answer>")
    assert (right.reward, right.done, right.success) == (1, True, True)
    assert right.text == "Congratulations! You have answered the question correctly."


def test_strict_takes_one_answer_and_agentgym_any_number(made: Callable[..., SearchQA]) -> None:
    """Unlimited guesses make exact match a game of patience."""
    strict, _ = made().start(1, None)
    assert strict.step("<answer>Rome</answer>").done
    patient, _ = made(agentgym=True).start(1, None)
    assert not any(patient.step("<answer>Rome</answer>").done for _ in range(5))
    assert patient.step("<answer>Paris</answer>").done
    three, _ = made(answers="3").start(1, None)
    assert [three.step("<answer>Rome</answer>").done for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("action", ["", "Paris", "<search>x", "<search>x</answer>", "<ANSWER>Paris</ANSWER>", "\0"])
def test_what_is_no_action(made: Callable[..., SearchQA], action: str) -> None:
    turn = made().start(1, None)[0].step(action)
    assert (turn.valid, turn.done, turn.text.startswith("Your previous action is invalid.")) == (False, False, True)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The Beatles", "beatles", True),
        ("U.S.A.", "usa", True),
        ("a  b", "b", True),
        ("another", "other", False),
        ("", "the", True),
        ("Zürich", "zurich", False),
    ],
)
def test_exact_match(one: str, other: str, *, same: bool) -> None:
    assert (normalized(one) == normalized(other)) is same


def test_a_search_for_nothing_finds_nothing(made: Callable[..., SearchQA]) -> None:
    corpus = made().retriever
    for query in ("", "   ", "the of and", "?!", "zzzzz", "\0"):
        assert corpus.search(query, 3) == []


def test_passages_come_from_the_file(files: dict[str, str]) -> None:
    corpus = Corpus(Path(files["corpus"]))
    assert corpus.search("hamlet", 99)[0][0] == PASSAGES[2]  # longer than one read
    assert corpus.search("Äpfel", 1)[0][0] == {"id": "4", "contents": PASSAGES[3]["contents"]}
    corpus.close()


def test_an_index_is_kept_and_made_anew(files: dict[str, str], tmp_path: Path) -> None:
    path, index = Path(files["corpus"]), tmp_path / "index"

    def found(query: str) -> list[str]:
        corpus = Corpus(path, index)
        try:
            return [one["id"] for one, _ in corpus.search(query, 2)]
        finally:
            corpus.close()

    first = found("tower")
    made = (index / "wardian.json").stat().st_mtime_ns
    assert found("tower") == first == ["b"]
    assert (index / "wardian.json").stat().st_mtime_ns == made
    lines(path, [{"id": "z", "contents": '"Tower"\nA tower of cards.'}, *PASSAGES])
    assert found("cards") == ["z"]
    assert (index / "wardian.json").stat().st_mtime_ns > made


def test_search_r1s_answer(made: Callable[..., SearchQA]) -> None:
    environment = made()
    scored = retrieve(environment, {"queries": ["faust", "tower"], "topk": 1, "return_scores": True})["result"]
    assert [some[0]["document"]["id"] for some in scored] == ["a", "b"]
    assert all(float(some[0]["score"]) > 0 for some in scored)
    plain = retrieve(environment, {"queries": ["faust"]})["result"]
    assert plain[0][0] == PASSAGES[0]


@pytest.mark.parametrize("data", [{}, {"queries": "x"}, {"queries": [1]}, {"queries": ["x"], "topk": 0},
                                  {"queries": ["x"], "topk": "3"}, {"queries": ["x"] * 2000}])  # fmt: skip
def test_what_is_no_search(made: Callable[..., SearchQA], data: dict[str, Any]) -> None:
    with pytest.raises(NoSuchItem):
        retrieve(made(), data)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("questions", '{"question": "x"}\n', "q.jsonl:1 is no question"),
        ("questions", '\n{"question": "x", "golden_answers": ["y"]}\nnull\n', "q.jsonl:3 is no question"),
        ("questions", "", "has no question"),
        ("corpus", '{"id": 1, "contents": "x"}\n{"id": 2}\n', "c.jsonl:2 is no passage"),
        ("corpus", "{\n", "c.jsonl:1 is no passage"),
        ("corpus", "\n\n", "has no passage"),
    ],
)
def test_a_file_that_is_none_is_named_with_its_line(files: dict[str, Any], name: str, text: str, said: str) -> None:
    Path(files[name]).write_text(text)
    with pytest.raises(WardianError, match=said):
        SearchQA(**files)


@pytest.mark.parametrize("options", [{}, {"questions": "q"}, {"questions": "q", "corpus": "c", "retriever": "r"},
                                     {"questions": "q", "corpus": "c", "topk": "many"}])  # fmt: skip
def test_options_that_do_not_fit(options: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        SearchQA(**options)


@pytest.mark.parametrize("item", [-1, 2, 10**24])
def test_an_item_outside(made: Callable[..., SearchQA], item: int) -> None:
    with pytest.raises(NoSuchItem, match="out of range"):
        made().start(item, None)

"""What is said beside a transfer."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wardian.registry.progress import Meter, metered


class Line:
    """A line of a display that keeps what it was told."""

    def __init__(self) -> None:
        self.moved = 0.0
        self.said: list[str] = []

    def advance(self, amount: float) -> None:
        self.moved += amount

    def say(self, text: str) -> None:
        self.said.append(text)


class Display:
    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}

    @contextmanager
    def task(self, title: str, total: float | None = None) -> Iterator[Line]:
        self.lines[title] = Line()
        yield self.lines[title]


def test_amount_and_rate_are_said_now_and_then() -> None:
    times = iter([0.0, 0.1, 1.0, 1.0, 2.0, 2.0, 2.0])
    line = Line()
    meter = Meter(line, 30e6, lambda: next(times))
    meter.advance(5e6)
    assert line.said == []
    meter.advance(5e6)
    assert line.said == ["10.0 MB of 30.0 MB, 10.0 MB/s"]
    meter.advance(20e6)
    assert line.said[-1] == "30.0 MB, 15.0 MB/s"
    assert line.moved == 30e6


@pytest.mark.parametrize("shown", [True, False])
def test_the_last_word_is_the_whole(shown: bool) -> None:
    display = Display()
    with metered(display if shown else None, "pushing x", 1000) as advance:
        if advance:
            advance(1000)
    assert len(display.lines) == shown
    assert all(line.said[-1].startswith("1.0 kB, ") for line in display.lines.values())

"""What a server counts, in the text format of Prometheus (exposition format 0.0.4)."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)  # seconds


class Metrics:
    """Requests of one process: by route and status, and how long they took."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count one that was answered."""
        key = (path, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def state(self, sessions: int, reaped: int) -> dict[str, Any]:
        """All numbers, to be added to those of other processes."""
        return {
            "requests": [[path, status, count] for (path, status), count in sorted(self.requests.items())],
            "buckets": self.buckets,
            "seconds": self.seconds,
            "sessions": sessions,
            "reaped": reaped,
        }


def exposition(states: Iterable[Mapping[str, Any]], environment: str, room: int) -> str:
    """The sum of the processes' numbers as Prometheus reads them."""
    requests: dict[tuple[str, int], int] = {}
    buckets, seconds, sessions, reaped = [0] * (len(BOUNDS) + 1), 0.0, 0, 0
    for state in states:
        for path, status, count in state["requests"]:
            requests[path, status] = requests.get((path, status), 0) + count
        buckets = [a + b for a, b in zip(buckets, state["buckets"], strict=True)]
        seconds += state["seconds"]
        sessions += state["sessions"]
        reaped += state["reaped"]
    lines = [
        *_head("sessions", "gauge", "Sessions that are open."),
        f'wardian_env_sessions{{env="{environment}"}} {sessions}',
        *_head("sessions_max", "gauge", "Sessions that may be open."),
        f'wardian_env_sessions_max{{env="{environment}"}} {room}',
        *_head("sessions_reaped_total", "counter", "Sessions that were closed because nobody used them."),
        f'wardian_env_sessions_reaped_total{{env="{environment}"}} {reaped}',
        *_head("requests_total", "counter", "Requests that were answered."),
    ]
    for (path, status), count in sorted(requests.items()):
        lines.append(f'wardian_env_requests_total{{path="{path}",status="{status}"}} {count}')
    lines += _head("request_seconds", "histogram", "From a request's last byte to its answer.")
    total = 0
    for bound, count in zip((*BOUNDS, "+Inf"), buckets, strict=True):
        total += count
        lines.append(f'wardian_env_request_seconds_bucket{{le="{bound}"}} {total}')
    lines += [f"wardian_env_request_seconds_sum {seconds:.6f}", f"wardian_env_request_seconds_count {total}"]
    return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP wardian_env_{name} {text}", f"# TYPE wardian_env_{name} {kind}"]

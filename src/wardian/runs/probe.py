"""Looks at a service from this machine: does it answer, does it listen, what has it written."""

import http.client
import re
from collections import deque
from pathlib import Path

PATIENCE = 5.0  # seconds for one answer
LISTEN = "0A"  # Source: proc(5) and the kernel's include/net/tcp_states.h
TABLES = ("tcp", "tcp6")


def answers(port: int, path: str, host: str = "127.0.0.1") -> bool:
    """Whether a GET is answered with a status below 400; a redirection is an answer and is not followed."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listens(port: int, tables: Path = Path("/proc/net")) -> bool:
    """Whether somebody listens on the port. Nobody is called: a debugger takes the first caller for its client."""
    end = f":{port:04X}"
    for name in TABLES:
        try:
            rows = (tables / name).read_text().splitlines()[1:]
        except OSError:  # a kernel without IPv6
            continue
        if any(words[1].endswith(end) and words[3] == LISTEN for words in map(str.split, rows)):
            return True
    return False


def written(log: Path, pattern: str) -> bool:
    """Whether a log holds what a regular expression describes, on one line or over several."""
    try:
        return re.search(pattern, log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE) is not None
    except OSError:
        return False


def last_lines(log: Path, count: int = 12) -> list[str]:
    """The end of a log, as text."""
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\r\n") for line in deque(file, maxlen=count)]
    except OSError:
        return []

"""Where a path inside an image leads: its symbolic links followed, as if the image were the root."""

from collections.abc import Callable

MOST = 40  # links on one path, as Linux follows


def followed(path: str, link: Callable[[str], str | None], *, last: bool = True) -> str | None:
    """``path`` without links, dots and slashes around; None for a loop. ".." above the root is the root.

    ``link`` tells where a link leads, None for what is none; it is asked for each part on the way, from the root. With
    ``last=False`` a link in the last place stays.

    >>> followed("a/x", {"a": "/b/../c"}.get)
    'c/x'
    """
    waiting = _parts(path)
    done: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            del done[-1:]
            continue
        target = link("/".join([*done, part])) if last or waiting else None
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > MOST:
            return None
        done = [] if target.startswith("/") else done
        waiting += _parts(target)
    return "/".join(done)


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]

"""Keys: the digest of everything that decides a layer's bytes.

A key changes when the layer's inputs change, or when Wardian makes that kind of layer in another way: then its number
here is raised in the same commit.
"""

import json
from hashlib import sha256

FORMATS = {
    "base": 1, "bootstrap": 1, "apt": 1, "environment": 1, "wheels": 1, "pylock": 1, "run": 1, "files": 1,
    "project": 2, "image": 1,
}  # fmt: skip
EPOCH = 1_577_836_800  # 2020-01-01T00:00:00Z, the time of every file unless SOURCE_DATE_EPOCH says another


def key(kind: str, epoch: int, **fields: object) -> str:
    """The key of one layer of a kind; ``epoch`` is the time its files carry.

    >>> key("run", 0, line="true") == key("run", 0, line="true")
    True
    """
    text = json.dumps(
        {"kind": kind, "format": FORMATS[kind], "epoch": epoch, **fields},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )
    return "sha256:" + sha256(text.encode()).hexdigest()

"""The picture of an evaluation: a bar for each category, with its interval. SVG, self-contained."""

from collections.abc import Mapping
from html import escape
from typing import Any

_WIDTH, _ROW, _LEFT, _RIGHT = 760, 34, 190, 130


def picture(title: str, said: Mapping[str, Any], most: float | None) -> str:
    """An SVG of the mean scores (bars, 95 % intervals) and of success (a mark), all items first."""
    rows = [("all", said["all"]), *said["categories"].items()]
    top = most or max([abs(one["score"] or 0) + one["score_95"] for _, one in rows] + [1e-9])
    span, height = _WIDTH - _LEFT - _RIGHT, 70 + _ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-size="13">',
        "<style>text { font-family: sans-serif }</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="12" y="24" font-size="16" font-weight="bold">{escape(title)}</text>',
        f'<text x="{_LEFT}" y="44" fill="#666">score, of {top:g}, with 95 % interval; ▲ success</text>',
    ]
    for at, (name, one) in enumerate(rows):
        y = 56 + _ROW * at
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 17}" text-anchor="end">{escape(name)}</text>')
        if one["score"] is None:
            parts.append(f'<text x="{_LEFT + 4}" y="{y + 17}" fill="#999">nothing played</text>')
            continue
        middle = y + 12

        def place(value: float) -> float:
            return _LEFT + span * max(0.0, min(1.0, value / top))

        low, high = place(one["score"] - one["score_95"]), place(one["score"] + one["score_95"])
        width = place(one["score"]) - _LEFT
        value = f"{one['score']:.3g} ± {one['score_95']:.2g}"
        mark = _LEFT + span * one["success"]
        parts += [
            f'<rect x="{_LEFT}" y="{y + 3}" width="{span}" height="18" fill="#eee"/>',
            f'<rect x="{_LEFT}" y="{y + 3}" width="{width:.1f}" height="18" fill="#4a7c59"/>',
            f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#000"/>',
            f'<text x="{mark:.1f}" y="{y + 31}" text-anchor="middle" font-size="10" fill="#b3541e">▲</text>',
            f'<text x="{_WIDTH - _RIGHT + 8}" y="{y + 17}">{value} (n={one["items"]})</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])

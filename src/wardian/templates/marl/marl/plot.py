"""Learning curves as an SVG file: no plotting library in the image."""

from collections.abc import Sequence

WIDTH, HEIGHT, LEFT, TOP, GAP = 720, 220, 60, 34, 46
FONT = 'font-family="sans-serif" font-size="12"'
Series = Sequence[tuple[str, Sequence[float]]]  # title → one value for each update


def curves(steps: Sequence[int], series: Series) -> str:
    """One panel below the other, all over the same steps."""
    high = TOP + (HEIGHT + GAP) * len(series)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high}" {FONT}>',
        f'<rect width="{WIDTH}" height="{high}" fill="#fff"/>',
    ]
    for at, (title, values) in enumerate(series):
        parts += _panel(TOP + at * (HEIGHT + GAP), title, steps, values)
    return "\n".join([*parts, "</svg>\n"])


def _panel(top: float, title: str, steps: Sequence[int], values: Sequence[float]) -> list[str]:
    right, bottom = WIDTH - 20, top + HEIGHT
    low, high = min(0.0, *values), max(values) or 1.0
    last = steps[-1] or 1
    points = " ".join(
        f"{LEFT + (right - LEFT) * step / last:.1f},{bottom - HEIGHT * (value - low) / (high - low):.1f}"
        for step, value in zip(steps, values, strict=True)
    )
    return [
        f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{title}</text>',
        f'<path d="M{LEFT} {top}V{bottom}H{right}" fill="none" stroke="#888"/>',
        f'<text x="{LEFT - 6}" y="{top + 4}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{LEFT - 6}" y="{bottom + 4}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{last:,} agent steps</text>',
        f'<polyline points="{points}" fill="none" stroke="#0b62b8" stroke-width="2" stroke-linejoin="round"/>',
    ]

"""Accuracy against cost as an SVG file: one panel a dataset, written by hand, without a plotting library."""

from collections.abc import Sequence
from html import escape

import numpy as np

from pipeline.replay.methods import ALL
from pipeline.replay.replay import Replayed
from pipeline.router.observed import Tried

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 40, 68
SPAN = 0.25  # of accuracy that is shown, from the best down
COLOURS = {
    "two-model": "#8c6d1f",
    "frugal-gpt": "#b5482f",
    "metallm-linucb": "#7d4fa0",
    "learned": "#4a8f5c",
    "cascade": "#3f7fbf",
    "fusion": "#999999",
    ALL: "#111111",
}


def plot(replayed: Sequence[Replayed]) -> str:
    """Lines are curves (the knob swept on what is judged), filled points operating points, rings single models."""
    panels = "".join(
        f'<g transform="translate(0,{number * HEIGHT})">{_panel(one)}</g>'
        for number, one in enumerate(replayed)
    )
    height = HEIGHT * len(replayed)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>{panels}</svg>\n'
    )


class _Axes:
    """USD per thousand queries on a logarithmic axis, the upper part of accuracy on a linear one."""

    def __init__(self, one: Replayed) -> None:
        points = [*one.singles.values(), *(played.point for played in one.methods.values())]
        costs = [1000 * tried.cost.mean() for tried in points]
        costs = [cost for cost in costs if cost > 0]
        right = [tried.correct.mean() for tried in points]
        self.low, self.high = np.log10(min(costs) * 0.8), np.log10(max(costs) * 1.25)
        self.bottom, self.top = _outwards(max(min(right), max(right) - SPAN), max(right))

    def x(self, usd: float) -> float:
        share = (np.log10(max(1000 * usd, 10**self.low)) - self.low) / (self.high - self.low)
        return float(LEFT + share * (WIDTH - LEFT - RIGHT))

    def y(self, accuracy: float) -> float:
        share = (accuracy - self.bottom) / (self.top - self.bottom)
        return float(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM))


def _outwards(low: float, high: float) -> tuple[float, float]:
    step = _step(high - low)
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)


def _step(span: float) -> float:
    return next(step for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 1.0) if span / step <= 8)


def _panel(one: Replayed) -> str:
    axes = _Axes(one)
    above = {name: tried for name, tried in one.singles.items() if tried.correct.mean() >= axes.bottom}
    shown = {name: colour for name, colour in COLOURS.items() if name in one.methods}
    return "".join(
        [
            f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(one.dataset)}</text>',
            _frame(axes),
            *(_curve(one, name, colour, axes) for name, colour in shown.items()),
            *(_single(name, tried, axes) for name, tried in above.items()),
            _below(one, above),
            *(_point(one.methods[name].point, colour, axes) for name, colour in shown.items()),
            _legend(shown),
        ]
    )


def _frame(axes: _Axes) -> str:
    left, right, low, high = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, TOP
    lines = [f'<path d="M{left},{high}V{low}H{right}" fill="none" stroke="#444"/>']
    for accuracy in np.arange(axes.bottom, axes.top + 1e-9, _step(axes.top - axes.bottom)):
        y = axes.y(float(accuracy))
        lines.append(f'<path d="M{left},{y:.1f}H{right}" stroke="#e5e5e5"/>')
        lines.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{accuracy:.3g}</text>')
    for usd in _ticks(axes):
        x = axes.x(usd / 1000)
        lines.append(f'<path d="M{x:.1f},{low}v4" stroke="#444"/>')
        lines.append(f'<text x="{x:.1f}" y="{low + 17}" text-anchor="middle">{usd:.3g}</text>')
    middle = (left + right) / 2
    lines.append(f'<text x="{middle}" y="{low + 38}" text-anchor="middle">USD per 1,000 queries</text>')
    lines.append(
        f'<text transform="translate(16,{(low + high) / 2}) rotate(-90)" text-anchor="middle">accuracy</text>'
    )
    return "".join(lines)


def _ticks(axes: _Axes) -> list[float]:
    decades = range(int(np.floor(axes.low)), int(np.ceil(axes.high)) + 1)
    usd = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    return [each for each in usd if axes.low <= np.log10(each) <= axes.high]


def _curve(one: Replayed, name: str, colour: str, axes: _Axes) -> str:
    curve = one.methods[name].curve
    points, best = [], axes.bottom
    for usd, right in sorted(zip(curve.cost.mean(axis=1), curve.correct.mean(axis=1), strict=True)):
        if right >= best:  # a dearer setting that is worse is no part of the curve
            points.append((usd, right))
            best = right
    path = " ".join(f"{axes.x(usd):.1f},{axes.y(right):.1f}" for usd, right in points)
    wide = 2.2 if name == one.chosen else 1.1
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{wide}" opacity="0.8"/>'


def _single(name: str, tried: Tried, axes: _Axes) -> str:
    x, y = axes.x(float(tried.cost.mean())), axes.y(float(tried.correct.mean()))
    side, anchor = (-6, "end") if x > (WIDTH - RIGHT) * 0.75 else (6, "start")
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="white" stroke="#444"/>'
        f'<text x="{x + side:.1f}" y="{y + 13:.1f}" font-size="9" fill="#555" text-anchor="{anchor}">'
        f"{escape(name)}</text>"
    )


def _below(one: Replayed, above: dict[str, Tried]) -> str:
    left_out = [
        f"{name} {tried.correct.mean():.3f}" for name, tried in one.singles.items() if name not in above
    ]
    if not left_out:
        return ""
    said = escape(f"below: {', '.join(left_out)}")
    return f'<text x="{LEFT}" y="{HEIGHT - 12}" font-size="9" fill="#555">{said}</text>'


def _point(tried: Tried, colour: str, axes: _Axes) -> str:
    x, y = axes.x(float(tried.cost.mean())), axes.y(float(tried.correct.mean()))
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'


def _legend(shown: dict[str, str]) -> str:
    x, lines = WIDTH - RIGHT + 24, []
    for number, (name, colour) in enumerate(shown.items()):
        y = TOP + 16 + 18 * number
        lines.append(f'<path d="M{x},{y}h22" stroke="{colour}" stroke-width="2"/>')
        lines.append(f'<circle cx="{x + 11}" cy="{y}" r="4" fill="{colour}"/>')
        lines.append(f'<text x="{x + 30}" y="{y + 4}">{escape(name)}</text>')
    y = TOP + 16 + 18 * len(shown)
    lines.append(f'<circle cx="{x + 11}" cy="{y}" r="4" fill="white" stroke="#444"/>')
    lines.append(f'<text x="{x + 30}" y="{y + 4}">one model alone</text>')
    return "".join(lines)

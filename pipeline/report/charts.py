"""Charts as Vega-Lite specs (vega.github.io/vega-lite/docs) and as SVG.

Colours are CSS variables of the page, so that one picture is right in the dark and in the light; texts take the page's
font. Nothing in a picture is a link or a script.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from html import escape
from typing import Any

from pipeline.report.frontier import Frontier
from pipeline.report.sql import Row

WIDTH, HEIGHT = 380, 230  # of what lies between the axes
SHADES = 6  # of the ladder's colour: --tier-1 the cheapest … --tier-6 the dearest
NEAR_CAP = 3  # times the money spent, up to which a cap is drawn
Spec = dict[str, Any]
_LEFT_OUT = re.compile(r' (font-family|role|aria-\w+)="[^"]*"')  # of Vega's elements: the page has its own

_CONFIG: Spec = {
    "aria": False,
    "background": None,
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 8,
        "labelColor": "var(--quiet)", "titleColor": "var(--quiet)", "gridColor": "var(--line)",
        "domain": False, "ticks": False, "labelPadding": 6, "tickCount": 5,
    },
    "legend": {
        "orient": "top", "title": None, "labelFontSize": 12, "labelColor": "var(--quiet)", "symbolType": "square",
        "symbolSize": 90, "offset": 8,
    },
    "text": {"fontSize": 12, "fill": "var(--text)"},
}  # fmt: skip


def svg(chart: Spec, alternative: str) -> str:
    """The picture as an element of a page. Raises ValueError where the spec is none."""
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg({**chart, "config": _CONFIG})
    size = re.search(r'viewBox="[^"]*"', drawn)
    assert size is not None  # Vega writes one
    inside = drawn[drawn.index(">") + 1 :]
    inside = re.sub(r"<[^>]*>", lambda tag: _LEFT_OUT.sub("", tag[0]), inside)
    return f'<svg role="img" aria-label="{escape(alternative)}" {size[0]}>{inside}'


def frontier_chart(found: Frontier) -> Spec:
    """USD of a thousand queries against accuracy, with 95 % intervals."""
    costs = [point.usd_per_1000 for point in found.points]
    spread = min(costs) > 0 and max(costs) > 10 * min(costs)
    lowest = min(point.accuracy.share for point in found.points)
    least = max(0.0, int((lowest - 0.03) * 20) / 20)
    points = [
        {
            "kind": point.kind, "name": point.name, "usd": point.usd_per_1000, "right": point.accuracy.share,
            "low": max(least, point.accuracy.low), "high": point.accuracy.high,
        }
        for point in found.points
    ]  # fmt: skip
    x = {
        "field": "usd", "type": "quantitative", "title": "USD per 1,000 queries",
        "scale": {"type": "log", "nice": False, "domain": [min(costs) / 2, 2 * max(costs)]} if spread else {},
        "axis": {"grid": False, "format": "~g", **({"tickCount": 4} if spread else {})},
    }  # fmt: skip
    y = {
        "field": "right", "type": "quantitative", "title": None, "scale": {"domain": [least, 1]},
        "axis": {"format": ".0%"},
    }  # fmt: skip
    below = {"text": {"field": "name"}, "x": x, "y": y}

    def only(kind: str) -> list[Spec]:
        return [{"filter": f"datum.kind == '{kind}'"}]

    return {
        "data": {"values": points}, "width": WIDTH, "height": HEIGHT,
        "layer": [
            {"mark": {"type": "line", "stroke": "var(--tier-4)", "strokeWidth": 1.5}, "transform": only("plan"),
             "encoding": {"x": x, "y": y}},
            {"mark": {"type": "rule", "stroke": "var(--quiet)", "opacity": 0.5},
             "transform": [{"filter": "datum.kind != 'plan'"}],
             "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}},
            {"mark": {"type": "point", "filled": True, "size": 18, "fill": "var(--tier-4)", "opacity": 1},
             "transform": only("plan"), "encoding": {"x": x, "y": y}},
            {"mark": {"type": "point", "filled": True, "size": 70, "fill": "var(--back)", "stroke": "var(--text)",
                      "strokeWidth": 1.5, "opacity": 1}, "transform": only("tier"), "encoding": {"x": x, "y": y}},
            {"mark": {"type": "point", "shape": "diamond", "filled": True, "size": 170, "fill": "var(--accent)",
                      "opacity": 1}, "transform": only("run"), "encoding": {"x": x, "y": y}},
            {"mark": {"type": "text", "dy": 17, "fill": "var(--quiet)"}, "transform": only("tier"), "encoding": below},
            {"mark": {"type": "text", "dy": -15, "fill": "var(--accent)", "fontWeight": 600},
             "transform": only("run"), "encoding": below},
        ],
    }  # fmt: skip


def flow_chart(flow: Sequence[Row]) -> Spec:
    """At each tier the queries accepted, sent on, and ended without an answer."""
    parts = {"accepted": "var(--good)", "escalated": "var(--neutral)", "ended": "var(--bad)"}
    shown = {name: colour for name, colour in parts.items() if any(row[name] for row in flow)}
    values = [
        {"tier": row["tier"], "part": part, "queries": row[part], "order": order}
        for row in flow
        for order, part in enumerate(shown)
    ]
    return {
        "data": {"values": values}, "width": WIDTH, "height": {"step": 38},
        "mark": {"type": "bar", "height": 22},
        "encoding": {
            "y": {"field": "tier", "type": "nominal", "title": None, "sort": [row["tier"] for row in flow],
                  "axis": {"labelLimit": 120, "labelColor": "var(--text)"}},
            "x": {"field": "queries", "type": "quantitative", "title": "queries", "axis": {"format": "~s"}},
            "color": {"field": "part", "type": "nominal",
                      "scale": {"domain": list(shown), "range": list(shown.values())}},
            "order": {"field": "order"},
        },
    }  # fmt: skip


def spending_chart(spending: Sequence[Row], ladder: Sequence[str], cap: Decimal) -> Spec:
    """Dollars by tier, one above the other, as time goes by; the cap where it is near."""
    began = min(row["until"] for row in spending)
    last = (max(row["until"] for row in spending) - began).total_seconds()
    unit, seconds = next(
        each
        for each in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
        if last >= 2 * each[1] or each[1] == 1
    )
    paid = [tier for tier in ladder if any(row["tier"] == tier for row in spending)]
    values = [
        {
            "at": (row["until"] - began).total_seconds() / seconds, "tier": row["tier"], "usd": float(row["usd"]),
            "order": paid.index(row["tier"]),
        }
        for row in spending
    ]  # fmt: skip
    x = {
        "field": "at", "type": "quantitative", "title": f"{unit} from the first call",
        "scale": {"nice": False}, "axis": {"grid": False},
    }  # fmt: skip
    area = {
        "mark": {"type": "area", "interpolate": "step-after"},
        "encoding": {
            "x": x,
            "y": {"field": "usd", "type": "quantitative", "stack": "zero", "title": None, "axis": {"format": "$~g"}},
            "color": {"field": "tier", "type": "nominal", "sort": paid,
                      "scale": {"domain": paid, "range": shades(ladder, paid)}},
            "order": {"field": "order"},
        },
    }  # fmt: skip
    spent = sum(row["usd"] for row in spending if row["until"] == max(each["until"] for each in spending))
    layers: list[Spec] = [area]
    if spent and cap <= NEAR_CAP * spent:
        line = {"data": {"values": [{"cap": float(cap), "name": "cap"}]}}
        at = {"y": {"field": "cap", "type": "quantitative"}}
        layers += [
            {**line, "mark": {"type": "rule", "stroke": "var(--bad)", "strokeDash": [5, 4]}, "encoding": at},
            {**line, "mark": {"type": "text", "fill": "var(--bad)", "align": "left", "dy": 11, "x": 4},
             "encoding": {**at, "text": {"field": "name"}}},
        ]  # fmt: skip
    return {"data": {"values": values}, "width": WIDTH, "height": HEIGHT, "layer": layers}


def calibration_chart(bins: Sequence[Row]) -> Spec:
    """P(correct) as it was said against the share that was right; a point's size grows with its queries."""
    values = [{key: row[key] for key in ("said", "right", "low", "high", "queries")} for row in bins]
    axis = {"format": ".0%", "values": [0, 0.25, 0.5, 0.75, 1]}
    x = {
        "field": "said", "type": "quantitative", "title": "P(correct) said", "scale": {"domain": [0, 1]},
        "axis": {**axis, "grid": False},
    }  # fmt: skip
    y = {
        "field": "right",
        "type": "quantitative",
        "title": "right",
        "scale": {"domain": [0, 1]},
        "axis": axis,
    }
    return {
        "data": {"values": values}, "width": WIDTH, "height": HEIGHT,
        "layer": [
            {"data": {"values": [{"said": 0, "right": 0}, {"said": 1, "right": 1}]},
             "mark": {"type": "line", "stroke": "var(--quiet)", "strokeDash": [4, 4], "strokeWidth": 1},
             "encoding": {"x": x, "y": y}},
            {"mark": {"type": "rule", "stroke": "var(--accent)", "opacity": 0.5},
             "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}},
            {"mark": {"type": "point", "filled": True, "fill": "var(--accent)", "opacity": 1},
             "encoding": {"x": x, "y": y, "size": {"field": "queries", "type": "quantitative", "legend": None,
                                                   "scale": {"range": [30, 260]}}}},
        ],
    }  # fmt: skip


def shades(ladder: Sequence[str], paid: Sequence[str]) -> list[str]:
    """A colour for each tier by its place on the ladder."""
    step = (SHADES - 1) / max(1, len(ladder) - 1)
    return [f"var(--tier-{1 + round(ladder.index(tier) * step)})" for tier in paid]

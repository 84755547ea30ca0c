"""The first lines of a report: answers, accuracy, dollars against the cap and against the top tier."""

from decimal import Decimal

import msgspec

from pipeline.report.certificate import verdict
from pipeline.report.figures import Figures, Measured, Top
from pipeline.report.layout import usd


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    value: str
    note: str
    share: float | None = None  # of a whole, drawn as a bar


def tiles(figures: Figures) -> list[Tile]:
    summary = figures.summary
    answered = summary.statuses.get("answered", 0)
    others = [f"{count:,} {status}" for status, count in summary.statuses.items() if status != "answered"]
    return [
        Tile(
            label="Answered",
            value=f"{answered:,}",
            note=f"of {summary.queries:,} queries" + (f"; {', '.join(others)}" if others else ""),
            share=answered / summary.queries if summary.queries else None,
        ),
        _accuracy(figures.measured),
        Tile(
            label="Cost",
            value=usd(summary.cost_usd),
            note=f"of a cap of {usd(summary.cap_usd)}",
            share=float(summary.cost_usd / summary.cap_usd) if summary.cap_usd else None,
        ),
        *(_against(figures.top, summary.cost_usd, summary.queries - answered) if answered else []),
    ]


def lines(figures: Figures) -> list[str]:
    """What else is to be said of the money and the promise."""
    summary = figures.summary
    said: list[str] = []
    if summary.certificate is not None:
        said += verdict(summary.certificate)
    if summary.presumed_usd:
        said.append(
            f"{usd(summary.presumed_usd)} of the cost is presumed: sent, with an unknown outcome, charged in full."
        )
    if figures.released is not None:
        back = figures.released["charged_usd"] - figures.released["cost_usd"]
        calls = figures.released["calls"]
        said.append(f"By the provider's invoice {calls:,} presumed calls cost {usd(back)} less than charged.")
    if summary.forecast_usd is not None:
        low, high = summary.forecast_usd
        held = "held" if summary.forecast_held else "did not hold"
        said.append(f"Forecast from earlier jobs {usd(low)} to {usd(high)} (90%): {held}.")
    if summary.stop:
        said.append(f"The job was stopped: {summary.stop}.")
    return said


def _accuracy(measured: Measured | None) -> Tile:
    if measured is None:
        return Tile(label="Accuracy", value="not known", note="no answer is graded, no audit estimates it")
    found = measured.accuracy
    interval = f"{found.low:.1%} to {found.high:.1%}"
    if not measured.estimated:
        label, note = "Accuracy", f"{interval} (95%, Wilson), on {found.rows:,} rows with gold"
    else:
        held = {"gold": "gold", "human": "people's labels"}.get(measured.reference, measured.reference)
        label = "Accuracy" if measured.reference == "gold" else f"Agreement with {held}"
        note = f"{interval} (95%), estimated from {found.rows:,} audited rows"
    return Tile(label=label, value=f"{found.share:.1%}", note=note)


def _against(top: Top | None, cost: Decimal, unanswered: int) -> list[Tile]:
    if top is None:
        return []
    label = f"Against everything on {top.tier}"
    if not cost:
        value = "free"
    elif cost <= top.usd:
        value = f"{top.usd / cost:.1f}× cheaper"
    else:
        value = f"{cost / top.usd:.1f}× dearer"
    note = f"{usd(top.usd)} for {top.queries:,} queries, {_basis(top)}"
    if unanswered:
        note += f"; here {unanswered:,} have no accepted answer"
    return [Tile(label=label, value=value, note=note)]


def _basis(top: Top) -> str:
    match top.basis:
        case "audit":
            return f"by what {top.tier} cost on {top.seen:,} drawn rows"
        case "answer":
            return f"by what {top.tier} cost on the {top.seen:,} that asked it"
        case "tokens":
            return f"priced from tokens: {top.tier} was never asked"

"""Jobs as a person watches them: a screen for one, a table of all, a line where there is no screen."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.monitoring.watch import JobLine, JobView, TierView, amounts_of
from schemas.money import format_usd

WIDE, NARROW = (
    110,
    60,
)  # columns of a terminal: from the first on everything is shown, below the second no table of money
STATES = {"running": "green", "closing": "cyan", "closed": "dim"}
STOPS = {"cancelled": "yellow", "over_hold": "red", "infeasible": "yellow"}


class Column(NamedTuple):
    """Of the table of tiers."""

    title: str
    least: int  # columns a terminal must have for it
    cell: Callable[[TierView], str]


TIERS = (
    Column("asked", 0, lambda tier: f"{tier.asked:,}"),
    Column("answered", 0, lambda tier: f"{tier.answered:,}"),
    Column("passed on", 60, lambda tier: f"{tier.passed_on:,}"),
    Column("calls held", 70, lambda tier: f"{tier.held:,}" if tier.held else ""),
    Column("at once", WIDE, lambda tier: f"{tier.window:,}" if tier.window else ""),
    Column("latency", WIDE, lambda tier: f"{tier.latency_ms:,} ms" if tier.latency_ms else ""),
    Column("429", 50, lambda tier: f"{tier.limited:,}" if tier.limited else ""),
)
JOBS = {"done": 90, "%": 0, "a minute": WIDE, "to go": 60, "spent": 0, "held": WIDE, "cap": WIDE}  # likewise


def job_screen(view: JobView, width: int, height: int) -> Group:
    """Everything about one job; what went wrong lately as far as there is room."""
    parts: list[RenderableType] = [
        _head(view),
        _bar(view),
        _pace(view),
        "",
        _money(view, width),
        "",
        _tiers(view, width),
    ]
    parts += ["", _batches(view)]
    if view.audit is not None:
        parts.append(Text(f"audit: {view.audit.said}"))
    room = height - 17 - len(view.accounts) - len(view.tiers)
    if view.mishaps and room > 0:
        parts += ["", Text("No answer, lately", style="bold")]
        parts += [Text(f"{clock(each.at)}  {each.tier}: {each.why}", overflow="ellipsis", no_wrap=True)
                  for each in view.mishaps[:room]]  # fmt: skip
    parts += ["", Text("Ctrl-C ends the watching; the job goes on.", style="dim")]
    return Group(*(Padding(part, (0, 1)) for part in parts))


def _head(view: JobView) -> Text:
    head = Text.assemble((view.job, "bold"), "  ", *_state(view.state, view.stop))
    if view.generation > 1:
        head.append(f"  generation {view.generation}")
    head.append(f"  since {duration((view.at - view.created_at) / 1000)}", "dim")
    return head


def _state(state: str, stop: str | None) -> list[tuple[str, str]]:
    return [(state, STATES[state]), *([(f" ({stop})", STOPS[stop])] if stop else [])]


def _bar(view: JobView) -> Table:
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    line.add_row(
        ProgressBar(total=max(1, view.queries), completed=view.done),
        f"{view.done:,} of {view.queries:,}  {_share(view):.0%}",
    )
    return line


def _share(view: JobView) -> float:
    return view.done / view.queries if view.queries else 1.0


def _pace(view: JobView) -> Text:
    ended = [f"{status} {count:,}" for status, count in view.statuses.items()]
    return Text(" · ".join([*_speed(view), *ended]))


def _speed(view: JobView) -> list[str]:
    if view.state != "running":
        return []
    if view.rate is None:
        return ["measuring the rate"]
    left = view.seconds_left
    if left is None:
        return ["no query ended in the last minute"]
    return [f"{view.rate:,.0f} queries a minute", f"about {duration(left)} to go"]


def _money(view: JobView, width: int) -> Group:
    presumed = any(account.presumed for account in view.accounts)
    names = ["spent", *(["presumed"] if presumed else []), "held", "left", "cap"]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("money", no_wrap=True, overflow="ellipsis")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    lines = []
    for account in view.accounts:
        amounts = {name: format_usd(amount) for name, amount in amounts_of(account).items()}
        table.add_row(escape(account.account), *(amounts[name] for name in names))
        lines.append(f"{account.account}: {' · '.join(f'{name} {amounts[name]}' for name in names)}")
    told = []
    if view.spending is not None and view.state == "running":
        told.append(f"{format_usd(round(view.spending))} a minute")
    if view.expected is not None and view.state == "running":
        told.append(f"about {format_usd(view.expected)} in the end, if the rest costs the same")
    money = table if width >= NARROW else Text("\n".join(lines))
    return Group(money, Text(" · ".join(told), style="dim")) if told else Group(money)


def _tiers(view: JobView, width: int) -> Group:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("tier", no_wrap=True, overflow="ellipsis")
    shown = [column for column in TIERS if width >= column.least]
    for column in shown:
        table.add_column(column.title, justify="right", no_wrap=True)
    table.add_column("")
    for tier in view.tiers:
        table.add_row(escape(tier.tier), *(column.cell(tier) for column in shown), _health(tier))
    ill = [
        Text(f"{tier.tier}: {', '.join(said)}", "yellow") for tier in view.tiers if (said := trouble(tier))
    ]
    return Group(table, *ill)


def _health(tier: TierView) -> Text:
    if tier.down_since:
        return Text("down", "red")
    return Text("up", "green") if tier.asked or tier.held else Text("")


def trouble(tier: TierView) -> list[str]:
    """What is wrong with a tier, or slows it; empty: nothing."""
    said = []
    if tier.down_since:
        said.append(f"down since {clock(tier.down_since)} ({tier.problem})")
    if tier.calls_a_minute:
        said.append(f"at most {tier.calls_a_minute:,} calls a minute for now")
    return said


def _batches(view: JobView) -> Text:
    waiting = view.batches - view.committed - view.under_way
    said = f"batches: {view.committed:,} of {view.batches:,} committed, {view.under_way:,} under way"
    said += f", {waiting:,} waiting" if waiting > 0 else ""
    text = Text(said)
    if view.workers:
        names = [f"{_process(owner)} ×{count}" for owner, count in sorted(view.workers.items())]
        text.append(f"\nworkers: {len(names)} ({', '.join(names)})")
    elif view.state == "running":
        text.append("\nno worker holds a batch", "yellow")
    return text


def _process(owner: str) -> str:
    """An owner without the random end of its name."""
    return owner.rpartition(":")[0] or owner


def jobs_screen(lines: Sequence[JobLine], width: int, height: int) -> Group:
    """A line for each job; those that do not fit are counted."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("job", no_wrap=True, overflow="ellipsis")
    table.add_column("state", no_wrap=True)
    shown = [name for name, least in JOBS.items() if width >= least]
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("tiers", overflow="ellipsis", no_wrap=True)
    room = max(1, height - 5)
    for line in lines[:room]:
        cells = _cells(line)
        state = Text.assemble(*_state(line.row.state, line.row.stop))
        table.add_row(
            escape(line.row.job), state, *(cells.get(name, "") for name in shown), _all_up(line.view)
        )
    ends = [f"{len(lines) - room:,} more."] if len(lines) > room else []
    ends.append("tierwise status JOB --watch shows one. Ctrl-C ends the watching; jobs go on.")
    return Group(*(Padding(part, (0, 1)) for part in (table, "", Text(" ".join(ends), style="dim"))))


def _cells(line: JobLine) -> dict[str, str]:
    cells = {}
    if line.account is not None:
        cells = {name: format_usd(amount) for name, amount in amounts_of(line.account).items()}
    if (view := line.view) is None:
        return cells
    cells["done"], cells["%"] = f"{view.done:,} of {view.queries:,}", f"{_share(view):.0%}"
    if view.rate is not None:
        cells["a minute"] = f"{view.rate:,.0f}"
    if (left := view.seconds_left) is not None:
        cells["to go"] = duration(left)
    return cells


def _all_up(view: JobView | None) -> Text:
    if view is None:
        return Text("")
    if ill := [tier.tier for tier in view.tiers if tier.down_since]:
        return Text(f"{', '.join(ill)} down", style="red")
    limited = sum(tier.limited for tier in view.tiers)
    return Text(f"{limited:,} × 429", style="yellow") if limited else Text("up", style="green")


def key_of(view: JobView) -> object:
    """What is worth a new line when it changes."""
    own = view.accounts[0]
    health = [(tier.down_since > 0, tier.limited) for tier in view.tiers]
    return view.state, view.stop, view.statuses, own.spent, own.presumed, view.committed, health


def line_of(view: JobView) -> str:
    """One line without any control code."""
    money = amounts_of(view.accounts[0])
    stop = f" ({view.stop})" if view.stop else ""
    said = [
        f"{view.job} {view.state}{stop}",
        f"{view.done:,} of {view.queries:,} queries",
        *(_speed(view) if view.rate else []),
        ", ".join(f"{name} {format_usd(money[name])}" for name in ("spent", "held", "left")),
        *(f"{tier.tier} {each}" for tier in view.tiers for each in trouble(tier)),
    ]
    return f"{clock(view.at)}  {' · '.join(said)}"


def clock(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1000):%H:%M:%S}"


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"

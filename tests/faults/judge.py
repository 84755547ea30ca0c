"""What a campaign came to, judged from outside: the upstream's meter, the tables, the ledger's journal, and the
test's own books of what each process had asked for when it was struck."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.ports.ledger import CallRow
from tests.faults.herd import journal, sums
from tests.faults.trouble import Trouble
from tests.faults.worker import Entry, Event

USD = 10**9


@dataclass(kw_only=True)
class Verdict:
    """Totals of one campaign."""

    name: str
    seed: int
    queries: int
    faults: dict[str, int]  # kind: how many
    kills: int
    statuses: dict[str, int]
    rows_lost: int
    rows_doubled: int
    metered_usd: float
    recorded_usd: float
    presumed_usd: float
    cap_usd: float
    settled_paid_twice: int  # asked for again, and metered, after an equal request's reply had been settled
    sent_late: (
        int  # sent by a holder that had been overtaken, after an equal request's reply had been settled
    )
    presumed: int  # calls that nobody will ever know the outcome of
    in_flight_at_kills: int
    samples: int  # looks at meter and ledger
    seconds: float
    broken: list[str] = field(default_factory=list)  # invariants that did not hold, with what shows it

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(
    trouble: Trouble,
    *,
    name: str,
    seed: int,
    queries: Sequence[str],
    statuses: frozenset[str],
    seconds: float,
) -> Verdict:
    """Of a job that is closed; `statuses`: those that its rows may end in."""
    place, job, ended = trouble.place, trouble.job, trouble.herd.ended
    found = place.rows(f"SELECT query_id, status FROM results WHERE job = '{job}'")
    rows = Counter(row["query_id"] for row in found)
    calls, books, account = journal(place, job=job), trouble.herd.books(), place.money(job)
    flying = in_flight_at_death(books, calls, ended)
    presumed = {name for name, call in calls.items() if call.presumed}
    sent = {str(line.key): line.nano for line in trouble.upstream.meter_lines()}
    twice, late = paid_twice(books, calls, sent, ended)
    verdict = Verdict(
        name=name,
        seed=seed,
        queries=len(queries),
        faults=dict(trouble.counted),
        kills=trouble.kills,
        statuses=dict(Counter(row["status"] for row in found)),
        rows_lost=len(set(queries) - set(rows)),
        rows_doubled=len(found) - len(rows),
        metered_usd=sum(sent.values()) / USD,
        recorded_usd=account.spent / USD,
        presumed_usd=account.presumed / USD,
        cap_usd=account.cap / USD,
        settled_paid_twice=len(twice),
        sent_late=len(late),
        presumed=len(presumed),
        in_flight_at_kills=len(flying),
        samples=len(trouble.watching.samples),
        seconds=round(seconds, 1),
    )
    broken = verdict.broken
    broken += [f"{rule} at a sample: metered {m}, {a}" for rule, m, a in trouble.watching.broken()[:5]]
    broken += [
        f"ended {status}: {count} rows"
        for status, count in verdict.statuses.items()
        if status not in statuses
    ]
    broken += (
        [f"rows of no query: {sorted(set(rows) - set(queries))[:5]}"] if set(rows) - set(queries) else []
    )
    broken += [f"lost: {sorted(set(queries) - set(rows))[:5]}"] if verdict.rows_lost else []
    broken += [f"doubled: {[q for q, n in rows.items() if n > 1][:5]}"] if verdict.rows_doubled else []
    broken += [f"paid twice: {calls[first]} and {calls[second]}" for first, second in twice[:5]]
    broken += [
        f"presumed, and not in flight at a kill: {calls[name]}" for name in sorted(presumed - flying)[:5]
    ]
    broken += bills(sent, calls)
    money = sums(place, job)
    if len(set(money.values())) > 1 or account.spent > money["jobs"]:
        # less is right: a zombie that wakes once all is closed still settles what it was charged for in full
        broken.append(f"the tables sum to {money}, the account spent {account.spent}")
    if account.held:
        broken.append(f"closed with {account.held} nano held")
    if not sum(sent.values()) <= account.spent <= account.cap:
        broken.append(f"metered {sum(sent.values())}, recorded {account.spent}, cap {account.cap}")
    if account.presumed != sum(calls[name].cost for name in presumed):
        broken.append(f"the account's presumed money, {account.presumed}, is not that of its calls")
    return verdict


def in_flight_at_death(
    books: Sequence[Entry], calls: Mapping[str, CallRow], ended: Mapping[int, float]
) -> set[str]:
    """Calls with a hold whose process was gone before it heard that they were settled, or whose settlement the
    ledger was out of reach for."""
    asked = {entry.call_id: entry.pid for entry in books if entry.event == "asked"}
    over = {entry.call_id for entry in books if entry.event in ("settled", "ended")}
    unheard = {entry.call_id for entry in books if entry.event == "unheard"}
    lost = {name for name, pid in asked.items() if pid in ended} | unheard
    return {name for name in lost if name not in over and name in calls}


def paid_twice(
    books: Sequence[Entry], calls: Mapping[str, CallRow], sent: Mapping[str, int], ended: Mapping[int, float]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs of equal calls: the second was asked for, and metered, after the first one's reply was settled; and
    those of which the second had its hold by then, yet was sent later."""
    events: dict[str, dict[Event, Entry]] = defaultdict(dict)
    for entry in books:
        events[entry.call_id].setdefault(entry.event, entry)
    equal: dict[tuple[bytes, int], list[str]] = defaultdict(list)
    for name, call in calls.items():
        equal[call.request_hash, call.sample].append(name)
    twice, late = [], []
    for names in equal.values():
        known = [(when, name) for name in names if (when := _settled_at(calls[name], events[name], ended))]
        if not known:
            continue
        settled_at, first = min(known)
        for name in names:
            if name == first or name not in sent:
                continue
            asked, began = events[name].get("asked"), events[name].get("sent")
            if asked and asked.at > settled_at:
                twice.append((first, name))
            elif began and began.at > settled_at:
                late.append((first, name))
    return twice, late


def _settled_at(call: CallRow, events: Mapping[Event, Entry], ended: Mapping[int, float]) -> float | None:
    """When its complete reply was surely in the journal; None where there is none."""
    if call.presumed or call.outcome not in ("ok", "truncated", "malformed", "refused"):
        return None
    if "settled" in events:
        return events["settled"].at
    return ended.get(events["asked"].pid) if "asked" in events else None


def bills(sent: Mapping[str, int], calls: Mapping[str, CallRow]) -> list[str]:
    """Line by line: every bill is in the ledger, in full."""
    broken = []
    for name, nano in sent.items():
        call = calls.get(name)
        if call is None:
            broken.append(f"metered, and not in the journal: {name}")
        elif nano > call.cost or (not call.presumed and nano != call.cost):
            broken.append(f"metered {nano}: {call}")
    return broken[:5]

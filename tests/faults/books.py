"""What a scenario came to, and whether the meter, the ledger and the tables agree about it."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.ports.ledger import CallRow
from tests.faults.scenario import CALL, Scenario
from tests.faults.stage import Stage, rows
from tests.upstream.meter import MeterLine

USD = 10**9
DENIAL = re.compile(r"exhausted: account \S+: cap \$(.+), spent \$(.+), this call needs \$(.+)")
NO_ROOM = re.compile(r"exhausted: account \S+ has \$(.+) left, tier \S+ needs a hold of \$(.+)")
ELSEWHERE = re.compile(r"exhausted: account \S+ has \$.+ left, which goes where it adds more")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Money in USD."""

    scenario: str
    ledger: str
    workers: int
    queries: int
    cap_usd: float
    kills: int
    paid: int  # calls on the meter
    answered: int
    deferred: int
    presumed: int  # calls
    metered_usd: float
    recorded_usd: float
    by_job_usd: list[float]
    seconds: float
    broken: list[str]  # bars


def judge(on: Stage, scenario: Scenario, kills: int, seconds: float, seen: Sequence[str]) -> Outcome:
    """`seen`: what the watch saw broken meanwhile."""
    jobs = scenario.ids
    results = rows(
        on, "SELECT job, query_id, status, reason, category FROM results WHERE job IN ({jobs})", jobs
    )
    lines = on.lines(jobs)
    calls = [call for job in jobs for call in on.calls(job) if call.model == job]
    account, own = on.account(scenario.account), [on.account(f"job/{job}") for job in jobs]
    statuses = Counter(row["status"] for row in results)
    broken = list(seen)
    outcome = Outcome(
        scenario=scenario.name,
        ledger=on.database,
        workers=on.processes,
        queries=scenario.queries,
        cap_usd=account.cap / USD,
        kills=kills,
        paid=len(lines),
        answered=statuses["answered"],
        deferred=statuses["deferred"],
        presumed=sum(call.presumed for call in calls),
        metered_usd=sum(line.nano for line in lines) / USD,
        recorded_usd=account.spent / USD,
        by_job_usd=[each.spent / USD for each in own],
        seconds=seconds,
        broken=broken,
    )
    broken += _one_row_each(results, outcome)
    broken += _bought(scenario, outcome, calls)
    broken += _without_faults(scenario, outcome) if not scenario.kills else []
    broken += _sums(on, jobs, account.spent)
    broken += [f"{each.account} still holds {each.held}" for each in (account, *own) if each.held]
    broken += _bills(lines, calls)
    broken += _denials([row["reason"] for row in results if row["status"] == "deferred"])
    broken += _purposes(scenario, results, calls)
    return outcome


def _one_row_each(results: Sequence[dict[str, Any]], outcome: Outcome) -> list[str]:
    distinct = {(row["job"], row["query_id"]) for row in results}
    if not len(results) == len(distinct) == outcome.queries:
        return [f"{len(results)} rows of {len(distinct)} queries, not {outcome.queries}"]
    others = outcome.queries - outcome.answered - outcome.deferred
    return [f"{others} rows neither answered nor deferred"] if others else []


def _bought(scenario: Scenario, outcome: Outcome, calls: Sequence[CallRow]) -> list[str]:
    """The cap is spent until not one more hold fits, and each settled call answers a row of its own."""
    settled = sum(call.outcome == "ok" and not call.presumed for call in calls)
    spent = settled * CALL + outcome.presumed * scenario.hold
    left = scenario.cap - spent
    wanted = settled if scenario.pays_for == "answer" else scenario.queries
    most = 2 * scenario.slots * scenario.jobs * outcome.kills  # between hold and settlement when killed
    bars = {
        f"{outcome.answered} answered, {settled} calls settled": outcome.answered == wanted,
        f"{settled} settled and {outcome.presumed} presumed calls make {spent}, recorded is "
        f"{outcome.recorded_usd}": spent == round(outcome.recorded_usd * USD),
        f"metered {outcome.metered_usd}, recorded {outcome.recorded_usd}, cap {outcome.cap_usd}":
            outcome.metered_usd <= outcome.recorded_usd <= outcome.cap_usd,
        f"{left} left, a hold is {scenario.hold}": not outcome.deferred or left < scenario.hold,
        f"{outcome.presumed} presumed after {outcome.kills} kills": outcome.presumed <= most,
        f"a job bought nothing: {outcome.by_job_usd}": all(outcome.by_job_usd),
    }  # fmt: skip
    return [said for said, holds in bars.items() if not holds]


def _without_faults(scenario: Scenario, outcome: Outcome) -> list[str]:
    """As many as calls made one after the other: the last one begins while its whole hold still fits."""
    most = min((scenario.cap - scenario.hold) // CALL + 1, scenario.queries)
    bars = {
        f"{outcome.paid} calls paid, not {most}": outcome.paid == most,
        f"metered {outcome.metered_usd}, recorded {outcome.recorded_usd}":
            outcome.metered_usd == outcome.recorded_usd,
    }  # fmt: skip
    return [said for said, holds in bars.items() if not holds]


def _sums(on: Stage, jobs: Sequence[str], spent: int) -> list[str]:
    """The jobs' accounts, the tables and the journal add up to what the account spent."""
    sums = {"accounts": sum(on.account(f"job/{job}").spent for job in jobs)}
    for table, column in (("calls", "cost_usd"), ("results", "cost_usd"), ("jobs", "spent_usd")):
        nano = f"SELECT (sum({column}) * {USD})::BIGINT AS nano FROM {table} WHERE job IN ({{jobs}})"
        sums[table] = rows(on, nano, jobs)[0]["nano"]
    return [f"{name} say {each}, the account {spent}" for name, each in sums.items() if each != spent]


def _bills(lines: Sequence[MeterLine], calls: Sequence[CallRow]) -> list[str]:
    """Every bill is in the ledger, and no request is paid again once its reply was settled."""
    known = {str(call.call_id): call for call in calls}
    broken = []
    for line in lines:
        call = known.get(str(line.key))
        if call is None or (line.nano > call.cost if call.presumed else line.nano != call.cost):
            broken.append(f"billed {line}, recorded {call}")
    settled = Counter(call.request_hash for call in calls if call.outcome == "ok" and not call.presumed)
    twice = sum(count > 1 for count in settled.values())
    return [*broken, f"{twice} requests settled twice"] if twice else broken


def _denials(reasons: Sequence[str]) -> list[str]:
    """Each deferred row was refused because its hold did not fit beside what was spent, held money apart; or for
    others, who had the money: `_bought` sees that they did."""
    broken = []
    for reason in reasons:
        if ELSEWHERE.match(reason):
            continue
        denied, no_room = DENIAL.match(reason), NO_ROOM.match(reason)
        if denied:
            cap, spent, hold = map(_cents, denied.groups())
            fits = spent + hold <= cap
        elif no_room:
            left, hold = map(_cents, no_room.groups())
            fits = hold <= left
        else:
            broken.append(f"deferred: {reason}")
            continue
        if fits:
            broken.append(f"deferred while money was only held: {reason}")
    return broken


def _cents(amount: str) -> int:
    return round(float(amount.replace(",", "")) * 100)


def _purposes(scenario: Scenario, results: Sequence[dict[str, Any]], calls: Sequence[CallRow]) -> list[str]:
    """All that was paid was for one purpose; a row whose taxonomy call was refused has its category all the same."""
    others = {call.purpose for call in calls} - {scenario.pays_for}
    broken = [f"calls for {sorted(others)} were paid too"] if others else []
    bare = sum(not row["category"] for row in results) if scenario.pays_for == "taxonomy" else 0
    return [*broken, f"{bare} rows without a category"] if bare else broken

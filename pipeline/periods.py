"""Budgets by the day, week and month: the accounts of the periods that a job falls into. Pure."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

from schemas.ids import AccountId, Nano
from schemas.job import JobSpec
from schemas.money import usd_to_nano


class Period(msgspec.Struct, frozen=True, kw_only=True):
    account: AccountId  # GROUP/day:2026-11-21, GROUP/week:2026-W47, GROUP/month:2026-11
    cap: Nano
    carry: Nano  # at most so much of what the period before has left


def periods_at(spec: JobSpec, group: str, at: int) -> list[Period]:
    """Those that hold the moment (Unix ms) in the schedule's time zone; weeks are those of ISO 8601. `group` shares
    them."""
    use = spec.budget.per
    if use is None:
        return []
    zone = ZoneInfo(spec.schedule.timezone) if spec.schedule else UTC
    local = datetime.fromtimestamp(at / 1000, zone)
    year, week, _ = local.isocalendar()
    keys = {"day": f"{local:%Y-%m-%d}", "week": f"{year:04d}-W{week:02d}", "month": f"{local:%Y-%m}"}
    found = []
    for kind, key in keys.items():
        usd = getattr(use, kind)
        if usd is not None:
            most = 0 if use.rollover == "none" else use.up_to if use.up_to is not None else usd
            account = AccountId(f"{group}/{kind}:{key}")
            found.append(Period(account=account, cap=usd_to_nano(usd), carry=usd_to_nano(most)))
    return found


def group_of(spec: JobSpec, schedule: str | None) -> str:
    """Who shares the periods: the account that the budget names, else the schedule, else jobs of the spec's name."""
    return spec.budget.account or schedule or spec.name

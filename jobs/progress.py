"""Progress as a person sees it: a bar, dollars spent, held and left, answers per tier, time to finish."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from pipeline.ports.ledger import Account
from pipeline.work import Services
from schemas.ids import AccountId
from schemas.money import format_usd
from schemas.records import Result


class Board:
    """What is drawn. `count` is the flow's progress callback."""

    def __init__(self, title: str, total: int) -> None:
        self.console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        )
        self._task = self._bar.add_task(title, total=total)
        self.tiers: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.account: Account | None = None

    def count(self, result: Result) -> None:
        self.statuses[result.status] += 1
        if result.tier and result.status == "answered":
            self.tiers[result.tier] += 1
        self._bar.advance(self._task)

    def draw(self) -> Group:
        return Group(self._bar, Text(f"  {self._money()}"), Text(f"  {self._answers()}"))

    def _money(self) -> str:
        if self.account is None:
            return ""
        left = self.account.cap - self.account.spent - self.account.held
        presumed = f" (presumed {format_usd(self.account.presumed)})" if self.account.presumed else ""
        return (
            f"spent {format_usd(self.account.spent)}{presumed} · held {format_usd(self.account.held)} · "
            f"left {format_usd(left)}"
        )

    def _answers(self) -> str:
        others = {status: count for status, count in self.statuses.items() if status != "answered"}
        return " · ".join(f"{name} {count:,}" for name, count in {**self.tiers, **others}.items())


@asynccontextmanager
async def board(
    services: Services, account: AccountId, title: str, total: int, *, quiet: bool
) -> AsyncIterator[Board]:
    """Draws on standard error twice a second while the block runs."""
    shown = Board(title, total)
    if quiet:
        yield shown
        return

    async def refresh() -> None:
        while True:
            shown.account = await services.ledger.account(account)
            live.update(shown.draw())
            await asyncio.sleep(0.5)

    with Live(shown.draw(), console=shown.console, refresh_per_second=4) as live:
        drawing = asyncio.create_task(refresh())
        try:
            yield shown
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)
            shown.account = await services.ledger.account(account)
            live.update(shown.draw())

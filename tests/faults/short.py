"""Jobs whose tiers have a price and a confidence for each text, so that it can be told where the money went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from pipeline.work import Work
from schemas.ids import CallId, Nano
from schemas.records import Completion, Reply, Request
from tests.faults.desk import Desk, Meter, Process, Scripted


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a tier answers one text."""

    hold: int = 100  # nano-dollars
    cost: int = 100
    sure: float = 0.5
    label: str = "a"
    refuses: bool = False  # no connection


class Priced(Scripted):
    """One tier that answers each text on its own terms."""

    def __init__(self, meter: Meter, process: Process, tier: str, terms: "ByTier") -> None:
        super().__init__(meter, process, "a")
        self._tier, self._terms = tier, terms

    def bound(self, request: Request) -> Nano:
        return Nano(self._terms.of(self._tier, request.user).hold)

    async def send(self, body: bytes, key: CallId) -> Reply:
        await self._process.step("send")
        text = body.decode().rpartition("\n")[2]
        terms = self._terms.of(self._tier, text)
        if terms.refuses:
            return Reply(status=0, sent=False, complete=False, error="refused")
        self._meter.events.append(("sent", key))
        self._terms.asked.append((self._tier, text))
        assert key not in self._meter.lines
        self._meter.lines[key] = terms.cost
        if self._meter.look:
            await self._meter.look()
        await self._process.step("billed")
        said = {"text": terms.label, "finish": "stop", "cost": terms.cost, "sure": terms.sure}
        return Reply(status=200, body=msgspec.json.encode(said), latency_ms=1)

    def read(self, body: bytes) -> Completion:
        return msgspec.structs.replace(super().read(body), confidence=msgspec.json.decode(body)["sure"])


@dataclass
class ByTier:
    """Terms by tier and text; `asked` is what was sent, in its order."""

    terms: Mapping[tuple[str, str], Terms] = field(default_factory=dict)
    default: Terms = field(default_factory=Terms)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def of(self, tier: str, text: str) -> Terms:
        return self.terms.get((tier, text), self.terms.get((tier, "*"), self.default))

    def texts(self, tier: str) -> list[str]:
        return [text for name, text in self.asked if name == tier]


async def start(desk: Desk, terms: ByTier, process: Process | None = None) -> Work:
    """The job as a new process opens it, its tiers on these terms."""
    process = process or Process()
    work = await desk.start(process)
    rungs = {
        name: msgspec.structs.replace(rung, provider=Priced(desk.meter, process, name, terms))
        for name, rung in work.asking.rungs.items()
    }
    return replace(work, asking=msgspec.structs.replace(work.asking, rungs=rungs))


def cut(texts: Sequence[str], batches: int) -> list[list[str]]:
    size = -(-len(texts) // batches)
    return [list(texts[start : start + size]) for start in range(0, len(texts), size)]

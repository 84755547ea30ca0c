"""What the audit of a job came to: which plan the job runs under from then on, or why there is none."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Literal

import msgspec

from pipeline.certify.certify import Tested
from pipeline.certify.certify import Verdict as Test
from pipeline.certify.outcomes import Candidate
from pipeline.certify.quote import Quote
from pipeline.ports.ledger import JobRow
from pipeline.ports.storage import Storage
from schemas import lake
from schemas.errors import NoSuchObject
from schemas.ids import BatchIndex, Generation, JobId, QueryId, TierName
from schemas.manifest import Manifest

# planned: a plan is frozen. infeasible: none reaches the target. unfinished: the rows could not all be asked; cancelled
# where that was asked for. measured: nothing was to be promised. quoted: only a pilot was asked for, to price the job.
# stated: people label the audit rows after the job, so the plan is the spec's own, frozen at submit.
Kind = Literal["planned", "infeasible", "unfinished", "cancelled", "measured", "quoted", "stated"]

CERTIFIED = "certified@"  # begins the version of a frozen plan


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """Of one generation, created once: the first one stands."""

    kind: Kind
    reason: str = ""  # why there is no plan, and what would change it
    stated: Candidate | None = None  # the plan that was named beforehand
    tested: Tested | None = None  # None: nothing was tested
    best: float | None = None  # share of agreeing rows that is certain of the surest plan tested
    quote: Quote | None = None  # what the pilot says of prices; of a quoted job alone
    reference: Mapping[QueryId, str | None] = {}  # its answers to the audit rows, as text; None: it has none
    alike: Mapping[QueryId, Sequence[str]] = {}  # what says the same in other words, of all drawn rows
    judged: int = 0  # pairs of answers that a judge was asked about
    unread: int = 0  # of these, without a verdict that could be read; they disagree
    unavailable: int = 0  # audit rows for which a tier could not be asked; they count as disagreeing
    graded: int = 0  # drawn rows whose gold is known
    right: int = 0  # of these, the reference's answers that are gold
    repeated: int = 0  # audited rows that the reference answered twice
    repeated_alike: int = 0  # of these, both times the same

    @property
    def runs(self) -> bool:
        """Whether the job goes on."""
        return self.kind in ("planned", "measured", "stated")

    @property
    def test(self) -> Test | None:
        """What the frozen plan did on the audit rows, which it was selected on."""
        if self.kind != "planned" or self.tested is None or self.tested.chosen is None:
            return None
        return self.tested.tests[self.tested.chosen]

    @property
    def plan(self) -> Candidate | None:
        """The frozen one."""
        return self.test.candidate if self.test else self.stated

    @property
    def version(self) -> str:
        """Names the frozen plan as a policy version."""
        return f"{CERTIFIED}{blake2b(msgspec.json.encode(self.plan), digest_size=4).hexdigest()}"


async def read_ruling(storage: Storage, job: JobId, generation: Generation) -> Ruling | None:
    """None: the audit is still open."""
    try:
        data = await storage.read(lake.ruling(job, generation))
    except NoSuchObject:
        return None
    return msgspec.json.decode(data, type=Ruling)


def labels_batch(pinned: Manifest, batches: int) -> BatchIndex | None:
    """The last of a generation's batches, where each label is to be certified when all others are done."""
    certified = pinned.draw is not None and pinned.draw.per_label is not None
    return BatchIndex(batches - 1) if certified else None


def audit_batch(pinned: Manifest, batches: int) -> BatchIndex:
    """The batch that opens a generation whose plan is still open."""
    return BatchIndex(batches - 1 if labels_batch(pinned, batches) is None else batches - 2)


async def ready_batches(
    storage: Storage, pinned: Manifest, row: JobRow, batches: Sequence[BatchIndex]
) -> list[BatchIndex]:
    """Those of the batches that may run now: while the plan of a job that is to be certified is open, its audit; the
    labels' when all others are committed."""
    if pinned.draw is None:
        return list(batches)
    if await read_ruling(storage, pinned.job, row.generation) is None:
        return [batch for batch in batches if batch == audit_batch(pinned, row.batches)]
    last = None if row.committed >= row.batches - 1 else labels_batch(pinned, row.batches)
    return [batch for batch in batches if batch != last]


async def write_stated_ruling(storage: Storage, pinned: Manifest) -> None:
    """Of a job that is being submitted: an interrupted submit of its id may have left another."""
    tiers = pinned.job_spec().tiers
    plan = Candidate(tuple(TierName(tier.name) for tier in tiers), tuple(tier.accept for tier in tiers))
    ruling = Ruling(kind="stated", stated=plan)
    await storage.write(lake.ruling(pinned.job, Generation(1)), msgspec.json.encode(ruling))


async def create_ruling(storage: Storage, job: JobId, generation: Generation, ruling: Ruling) -> Ruling:
    """The one that stands: this one, or what another holder of the audit came to before."""
    if await storage.create(lake.ruling(job, generation), msgspec.json.encode(ruling)):
        return ruling
    stands = await read_ruling(storage, job, generation)
    assert stands is not None  # rulings are never deleted
    return stands

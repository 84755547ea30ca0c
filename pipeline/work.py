"""A job as it runs in this process: everything `flow` and `close` need, built by `wiring`."""

from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.audit.ruling import CERTIFIED, Ruling, read_ruling
from pipeline.cascade.judges.same_answer import SameAnswer
from pipeline.cascade.rung import Rung
from pipeline.cascade.walk import Asking
from pipeline.cascade.worth import Seen
from pipeline.history.past import Past
from pipeline.learning.learner import Learner
from pipeline.monitoring.meters import Meters
from pipeline.monitoring.trace import UNTRACED, Tracer
from pipeline.ports.history import History
from pipeline.ports.ledger import Ledger
from pipeline.ports.policy import Policy
from pipeline.ports.storage import Storage
from pipeline.providers.http import HttpClient
from pipeline.taxonomy.classify import Taxonomy
from schemas.ids import CallId, Generation, JobId
from schemas.job import JobSpec
from schemas.manifest import Manifest
from schemas.records import Assignment, Result

Progress = Callable[[Result], None]  # of a query that ended


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Durations of a worker, in milliseconds."""

    lease: int = 60_000  # of a batch; renewed at a third
    batch: int = 600_000  # after which a batch yields and is published again
    poison: int = 5  # leases without a journalled call in between, after which a batch is given up


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The outside, opened once per process."""

    ledger: Ledger
    storage: Storage
    http: HttpClient  # one session for all tiers
    clock: Callable[[], int]  # Unix ms
    new_id: Callable[[], CallId]
    random: Callable[[], float]
    owner: str  # names this process in leases
    timing: Timing = Timing()
    meters: Meters | None = None  # None: nobody reads them
    tracer: Tracer = UNTRACED


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One job, ready to run."""

    services: Services
    manifest: Manifest
    spec: JobSpec
    asking: Asking
    policy: Policy  # as it is before anything was learned
    learner: Learner | None  # None: its policy learns nothing
    taxonomy: Taxonomy | None
    history: History | None  # None: every answer is asked for anew
    past: Past | None  # None: no look back
    slow: Rung | None  # the tier that classifies uncertain queries
    encoder: Rung | None  # the endpoint whose vectors routing learns by
    encoded: History  # every vector that any job paid for
    seen: Seen  # of its tiers, in this process
    certified: Callable[[Ruling], Policy]  # the plan that the audit froze
    agreement: SameAnswer | None = None  # tells which answers in free text agree; None: equal ones do
    rulings: dict[Generation, Ruling] = field(default_factory=dict)  # read so far

    async def ruling(self, generation: Generation) -> Ruling | None:
        """What the audit came to; None while it is open, and where nothing is to be certified."""
        if self.spec.quality is None:
            return None
        if generation not in self.rulings:
            found = await read_ruling(self.services.storage, self.job, generation)
            if found is None:
                return None
            self.rulings[generation] = found
        return self.rulings[generation]

    async def standing_policy(self, generation: Generation) -> Policy:
        """What a batch that begins now is routed by."""
        ruling = await self.ruling(generation)
        if ruling is not None and ruling.plan is not None:
            return self.certified(ruling)
        return await self.learner.standing() if self.learner else self.policy

    async def policy_at(self, generation: Generation, version: str) -> Policy:
        """What a batch is routed by that pinned this version."""
        if version.startswith(CERTIFIED):
            return await self.standing_policy(generation)
        return await self.learner.at(version) if self.learner else self.policy

    def may_see(self, rung: Rung, assignment: Assignment) -> bool:
        """Whether a query's category lets it be shown to a tier."""
        allowed = self.taxonomy.allowed(assignment) if self.taxonomy else None
        return allowed is None or rung.name in allowed

    @property
    def job(self) -> JobId:
        return self.manifest.job

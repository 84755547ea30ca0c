"""A job as it runs in this process: everything `flow` and `close` need, built by `wiring`."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.cascade.call import Rung
from pipeline.cascade.walk import Asking
from pipeline.ports.ledger import Ledger
from pipeline.ports.policy import Policy
from pipeline.ports.storage import Storage
from pipeline.providers.http import HttpClient
from pipeline.taxonomy.classify import Taxonomy
from schemas.ids import CallId, JobId
from schemas.job import JobSpec
from schemas.manifest import Manifest

Progress = Callable[[str, str], None]  # status, tier ("" for none) of a query that ended


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One job, ready to run."""

    services: Services
    manifest: Manifest
    spec: JobSpec
    asking: Asking
    policy: Policy
    taxonomy: Taxonomy | None
    slow: Rung | None  # the tier that classifies uncertain queries

    @property
    def job(self) -> JobId:
        return self.manifest.job

"""Jobs, generations, batches and their leases, in memory."""

from collections import Counter

import msgspec

from pipeline.ledger import rules
from pipeline.ledger.memory.calls import Batch, Calls
from pipeline.ports.ledger import Activity, JobRow, JobState, Refusal, StopReason, UnderWay
from schemas.ids import AccountId, BatchIndex, Fence, Generation, JobId
from schemas.records import Lease, Pin, Tally


class Batches(Calls):
    async def create_job(self, job: JobId, *, name: str, account: AccountId, batches: int, now: int) -> bool:
        if job in self._jobs:
            return False
        self._jobs[job] = JobRow(
            job=job,
            name=name,
            account=account,
            generation=Generation(1),
            state="running",
            stop=None,
            batches=batches,
            committed=0,
            created_at=now,
            closed_at=None,
        )
        self._add_batches(job, Generation(1), batches, now)
        return True

    def _add_batches(self, job: JobId, generation: Generation, count: int, now: int) -> None:
        for index in range(count):
            self._batches[(job, generation, BatchIndex(index))] = Batch(published_at=now)

    def _still_spendable(self, account: AccountId) -> int:
        under = [row.account for row in self._jobs.values() if row.state != "closed"]
        open_ = [self._balances[name] for name in under if account in self._parents[name]]
        return sum(each.cap - each.spent for each in open_)

    async def job(self, job: JobId) -> JobRow | None:
        return self._jobs.get(job)

    async def jobs(self) -> list[JobRow]:
        return sorted(self._jobs.values(), key=lambda row: (row.created_at, row.job))

    async def stop_job(self, job: JobId, reason: StopReason) -> None:
        row = self._jobs.get(job)
        if row is not None and (reason == "over_hold" or row.stop is None):
            self._jobs[job] = msgspec.structs.replace(row, stop=reason)
            self._wake()

    async def start_generation(self, job: JobId, after: Generation, batches: int) -> bool:
        row = self._jobs.get(job)
        if row is None or row.generation != after or row.state != "closed":
            return False
        generation = Generation(after + 1)
        self._jobs[job] = msgspec.structs.replace(
            row,
            generation=generation,
            state="running",
            stop=None,
            batches=batches,
            committed=0,
            closed_at=None,
        )
        self._add_batches(job, generation, batches, self._clock())
        return True

    async def close_generation(self, job: JobId, generation: Generation, now: int) -> None:
        await self.presume(job, generation)
        row = self._jobs.get(job)
        if row is not None and row.generation == generation and row.state != "closed":
            self._jobs[job] = msgspec.structs.replace(row, state="closed", closed_at=now)

    async def lease_batch(
        self,
        job: JobId,
        generation: Generation,
        batch: BatchIndex,
        *,
        owner: str,
        pin: Pin,
        now: int,
        ttl_ms: int,
    ) -> Lease | Refusal:
        row, found = self._jobs.get(job), self._batches.get((job, generation, batch))
        if row is None or (found is None and generation >= row.generation):
            return "unknown"
        if found is None:
            return "closed"
        refusal = rules.lease_refusal(
            current=row.generation,
            state=row.state,
            wanted=generation,
            committed=found.committed,
            lease_until=found.lease_until,
            now=now,
        )
        if refusal is not None:
            return refusal
        mine = self._calls_of(job, generation, batch)
        self._presume(mine)
        seen = sum(call.former.outcome in rules.COMPLETE for call in mine)
        found.attempts = 1 if seen > found.seen else found.attempts + 1
        found.seen, found.fence, found.owner, found.lease_until = seen, found.fence + 1, owner, now + ttl_ms
        found.pin = found.pin or pin
        return Lease(
            job=job,
            generation=generation,
            batch=batch,
            fence=Fence(found.fence),
            owner=owner,
            attempts=found.attempts,
            pin=found.pin,
        )

    async def open_batches(self, job: JobId, now: int) -> list[BatchIndex]:
        return list(self._open(job, now))

    async def lost_batches(self, job: JobId, now: int, quiet_ms: int) -> list[BatchIndex]:
        lost = {
            index: batch
            for index, batch in self._open(job, now).items()
            if batch.published_at + (quiet_ms if batch.fence else 10 * quiet_ms) <= now
            or batch.published_at > now  # by a clock that was set back since
        }
        for batch in lost.values():
            batch.published_at = now
        return list(lost)

    def _open(self, job: JobId, now: int) -> dict[BatchIndex, Batch]:
        row = self._jobs.get(job)
        if row is None or row.state == "closed":
            return {}
        indexes = [BatchIndex(index) for index in range(row.batches)]
        every = {index: self._batches[(job, row.generation, index)] for index in indexes}
        return {
            index: batch for index, batch in every.items() if not batch.committed and batch.lease_until <= now
        }

    def _leased(self, lease: Lease) -> Batch | None:
        found = self._batches.get((lease.job, lease.generation, lease.batch))
        mine = found is not None and (found.fence, found.owner) == (lease.fence, lease.owner)
        return found if mine else None

    async def renew(self, lease: Lease, now: int, ttl_ms: int) -> JobRow | None:
        found, row = self._leased(lease), self._jobs.get(lease.job)
        if found is None or found.committed or row is None:
            return None
        found.lease_until = now + ttl_ms
        return row if row.generation == lease.generation and row.state != "closed" else None

    async def release(self, lease: Lease) -> None:
        found = self._leased(lease)
        if found is not None:
            found.lease_until, found.owner, found.attempts = 0, "", 0

    async def commit_batch(self, job: JobId, generation: Generation, batch: BatchIndex) -> int:
        found, row = self._batches.get((job, generation, batch)), self._jobs.get(job)
        if found is not None and not found.committed:
            found.committed = True
            self._presume(self._calls_of(job, generation, batch))
            if row is not None and row.generation == generation:
                self._jobs[job] = _one_more_committed(row)
        places = [place for place in self._batches if place[:2] == (job, generation)]
        return sum(not self._batches[place].committed for place in places)

    async def note(self, lease: Lease, tally: Tally) -> None:
        found = self._batches.get((lease.job, lease.generation, lease.batch))
        if found is not None and found.fence == lease.fence:
            found.noted = (lease.fence, tally)

    async def activity(self, job: JobId, generation: Generation, now: int) -> Activity:
        open_now = {
            place[2]: each
            for place, each in self._batches.items()
            if place[:2] == (job, generation) and not each.committed and each.lease_until > now
        }
        under_way = [
            UnderWay(
                batch=index,
                owner=each.owner,
                lease_until=each.lease_until,
                tally=each.noted[1] if each.noted and each.noted[0] == each.fence else None,
            )
            for index, each in sorted(open_now.items())
        ]
        calls = await self.calls(job, generation)
        return Activity(
            under_way=under_way, held=dict(Counter(call.tier for call in calls if call.outcome is None))
        )


def _one_more_committed(row: JobRow) -> JobRow:
    committed = row.committed + 1
    done = row.state == "running" and committed >= row.batches
    state: JobState = "closing" if done else row.state
    return msgspec.structs.replace(row, committed=committed, state=state)

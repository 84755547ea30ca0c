"""The judges' bench for one query: who is heard of an answer, what they may ask, and what that came to."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from pipeline.cascade.call import Caller
from pipeline.cascade.combine import STATED, Combiner, combine
from pipeline.cascade.holder import CONCERNS_THE_BATCH
from pipeline.cascade.rung import Asked, Rung
from pipeline.ports.judge import Case, Judge, NoReply, PayingJudge
from pipeline.task.length import estimated_tokens
from schemas.ids import CallId, Nano, TierName
from schemas.records import Answer, Assignment, Completion, Query, Request, Step, Vote

Allowed = Callable[[Assignment], frozenset[TierName] | None]


class Judging(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for every query of a job."""

    judges: Sequence[Judge]
    paying: Sequence[PayingJudge] = ()
    combiner: Combiner = STATED


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    votes: tuple[Vote, ...]
    confidence: float  # P(correct) by the combiner
    cost: Nano  # of what judges asked
    missed: str = ""  # why a judge got no reply from a tier


class Bench:
    """A judge that fails leaves a record. One that is denied money does too: the cascade goes on with what the others
    say, and it is for the next tier's hold to find out whether there is money for more."""

    def __init__(
        self,
        judging: Judging,
        rungs: Mapping[TierName, Rung],
        caller: Caller,
        query: Query,
        document: str,
        allowed: Callable[[], frozenset[TierName] | None],
        off_ledger: list[tuple[TierName, Asked]],
    ) -> None:
        """`allowed`: tiers that may see the query, None for all, looked up once a judge asks; `off_ledger` takes the
        calls that the ledger does not know."""
        self._judging, self._rungs, self._caller = judging, rungs, caller
        self._query, self._document, self._allowed = query, document, allowed
        self._off_ledger = off_ledger
        self._paid: set[CallId] = set()
        self._cost, self._missed = 0, ""  # of the answer at hand

    async def hear(
        self, rung: Rung, answer: Answer, completion: Completion, before: Sequence[Step], needed: float
    ) -> Heard:
        """What the judges make of an answer of this tier, that stands from P(correct) `needed` on."""
        judging, self._cost, self._missed = self._judging, 0, ""
        case = Case(
            query=self._query, document=self._document, tier=rung.name, answer=answer, completion=completion,
            before=before, outlook=0.0, needed=needed, ask=self._ask,
        )  # fmt: skip
        votes: list[Vote] = []
        for judge in judging.judges:
            await _vote(judge, case, votes)
        for judge in judging.paying if answer.value is not None else ():
            case = replace(case, outlook=combine(votes, rung.trust, judging.combiner))
            await _vote(judge, case, votes)
        confidence = combine(votes, rung.trust, judging.combiner) if answer.value is not None else 0.0
        return Heard(votes=tuple(votes), confidence=confidence, cost=Nano(self._cost), missed=self._missed)

    async def _ask(self, tier: TierName, request: Request, sample: int = 0) -> Completion:
        rung = self._rungs[tier]
        allowed = self._allowed()
        if allowed is not None and tier not in allowed:
            raise NoReply(f"tier {tier} may not see this query")
        if estimated_tokens(request.user) > rung.room:
            raise NoReply(f"too long for tier {tier}")
        asked = await self._caller.ask(rung, request, self._query.query_id, purpose="judge", sample=sample)
        if rung.provider.local or asked.reused:
            self._off_ledger.append((tier, replace(asked, purpose="judge")))
        if asked.call_id is not None and asked.call_id not in self._paid:
            self._paid.add(asked.call_id)  # once, however often it is asked again
            self._cost += asked.cost
        if asked.completion is None:
            detail = f": {asked.denied.detail}" if asked.denied and asked.denied.detail else ""
            self._missed = f"tier {tier}: {asked.problem}{detail}"[:300]
            raise NoReply(self._missed)
        return asked.completion


async def _vote(judge: Judge, case: Case, votes: list[Vote]) -> None:
    """Adds what the judge says to the votes; nothing where it is silent."""
    try:
        vote = await judge.score(case)
        if vote.score is not None and not 0 <= vote.score <= 1:
            raise ValueError(f"a score of {vote.score} is no probability")
    except CONCERNS_THE_BATCH:
        raise
    except NoReply as why:
        vote = Vote(judge=judge.name, version=judge.version, score=None, reason=str(why))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:300]
        vote = Vote(judge=judge.name, version=judge.version, score=None, reason=reason)
    if vote.score is not None or vote.reason:
        votes.append(vote)

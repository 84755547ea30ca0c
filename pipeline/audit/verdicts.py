"""Which answers of drawn rows agree with what they are held against: word for word, or as a judge says."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from pipeline.cascade.call import Caller
from pipeline.cascade.judges.same_answer import same_words
from pipeline.cascade.walk import parts_of
from pipeline.rows import OffLedger
from pipeline.task.length import estimated_tokens
from pipeline.task.mask import mask
from pipeline.together import together
from pipeline.work import Work
from schemas.ids import QueryId
from schemas.records import Assignment, Plan, Query

Pair = tuple[Query, Assignment, str, str]  # the row, and two answers as they stand in tables


class Verdicts:
    """Of one audit. A pair without a verdict does not agree."""

    def __init__(self, work: Work, caller: Caller, off_ledger: list[OffLedger]) -> None:
        """`off_ledger` takes the calls that the ledger does not know."""
        self._work, self._caller, self._off_ledger = work, caller, off_ledger
        self._same: dict[QueryId, set[frozenset[str]]] = defaultdict(set)
        self._heard: set[tuple[QueryId, frozenset[str]]] = set()
        self.judged = 0  # pairs put to the judge
        self.cost = 0  # nano-dollars
        self.unread = 0  # of these, without a verdict that can be read
        self.missed: set[QueryId] = set()  # rows about which the judge's tier could not be asked

    async def hear(self, pairs: Iterable[Pair]) -> None:
        """Where a judge tells agreement, it is asked about each pair that differs by more than form, once. Raises as
        the calls do; what was asked costs nothing the next time."""
        if self._work.agreement is None:
            return
        asked = []
        for query, assignment, first, second in pairs:
            pair = frozenset((first, second))
            if first == second or (query.query_id, pair) in self._heard:
                continue
            self._heard.add((query.query_id, pair))
            if same_words(first, second):
                self._same[query.query_id].add(pair)
            else:
                asked.append(self._ask(query, assignment, first, second))
        await together(asked)

    def alike(self, query: QueryId, first: str | None, second: str | None) -> bool:
        if first is None or second is None:
            return False
        return first == second or frozenset((first, second)) in self._same[query]

    def alike_to(self, reference: Mapping[QueryId, str | None]) -> dict[QueryId, list[str]]:
        """The answers that say in other words what the reference says of a row."""
        found = {
            query: sorted(text for pair in self._same[query] if said in pair for text in pair if text != said)
            for query, said in reference.items()
        }
        return {query: texts for query, texts in found.items() if texts}

    async def _ask(self, query: Query, assignment: Assignment, first: str, second: str) -> None:
        judge, asking = self._work.agreement, self._work.asking
        assert judge is not None
        self.judged += 1
        rung = asking.rungs[judge.tier]
        alone = Plan(tiers=(judge.tier,), accept=(0.0,), route="ladder", policy_version="audit")
        document = "".join(parts_of(asking, alone, query.text))
        if not document or not judge.judges(first, second) or not self._work.may_see(rung, assignment):
            self.unread += 1
            return
        for message, same in judge.questions(document, first, second):
            request = judge.request(query.query_id, mask(message, asking.masked)[0])
            if estimated_tokens(request.user) > rung.room:
                self.unread += 1
                return
            asked = await self._caller.ask(rung, request, query.query_id, purpose="judge")
            asked = replace(asked, purpose="judge")
            self.cost += asked.cost
            if asked.reused:
                self._off_ledger.append(
                    OffLedger(query_id=query.query_id, tier=rung.name, asked=asked, model=rung.provider.model)
                )
            if asked.completion is None:
                self.missed.add(query.query_id)
                return
            verdict = judge.read(asked.completion, same)
            if verdict is None:
                self.unread += 1
            if not verdict:
                return
        self._same[query.query_id].add(frozenset((first, second)))

"""The share of the tiers asked before that gave the same answer. Silent on the first."""

from pipeline.ports.judge import Case
from schemas.records import Vote


class Agreement:
    name = "agreement"
    version = 1

    async def score(self, case: Case) -> Vote:
        earlier = [step.answer.value for step in case.before if step.answer.value is not None]
        if not earlier or case.answer.value is None:
            return Vote(judge=self.name, version=self.version, score=None)
        same = sum(value == case.answer.value for value in earlier)
        reason = f"{same} of {len(earlier)} earlier tiers"
        return Vote(judge=self.name, version=self.version, score=same / len(earlier), reason=reason)

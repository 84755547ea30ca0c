"""The tier's own probability of its answer, where it gives one (logprobs, a classifier's estimate)."""

from pipeline.ports.judge import Case
from schemas.records import Vote


class Confidence:
    name = "confidence"
    version = 1

    async def score(self, case: Case) -> Vote:
        return Vote(judge=self.name, version=self.version, score=case.answer.confidence)

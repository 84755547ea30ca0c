"""Whether the reply parses to an answer the task allows."""

from pipeline.ports.judge import Case
from schemas.records import Vote


class Valid:
    name = "valid"
    version = 1

    async def score(self, case: Case) -> Vote:
        good = case.answer.value is not None
        return Vote(judge=self.name, version=self.version, score=float(good), reason=case.answer.problem)

"""The probability that a local classifier, taught on earlier jobs' answers, gives to the answer."""

from collections.abc import Callable

from pipeline.ports.judge import Case
from schemas.records import Vote

Chance = Callable[[str, str], float | None]  # P(label | text); None where it has no say


class StudentJudge:
    """Silent where no student was taught yet, on texts it is kept from, and on labels it never met."""

    name = "student"
    version = 1

    def __init__(self, chance: Chance | None, taught: str = "") -> None:
        self._chance, self._taught = chance, taught

    async def score(self, case: Case) -> Vote:
        label = case.answer.value
        if self._chance is None or not isinstance(label, str):
            return Vote(judge=self.name, version=self.version, score=None)
        chance = self._chance(case.document, label)
        reason = "" if chance is None else f"student {self._taught}"
        return Vote(judge=self.name, version=self.version, score=chance, reason=reason)

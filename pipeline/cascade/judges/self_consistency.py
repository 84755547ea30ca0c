"""The share of a cheap tier's samples that give the same answer (Wang et al., arXiv 2203.11171)."""

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from pipeline.cascade.judges.band import undecided
from pipeline.ports.judge import Case, NoReply
from pipeline.task.parse import Parser
from pipeline.task.prompt import JobPrompt
from schemas.ids import TierName
from schemas.records import Completion, Query, Request, Vote


class SelfConsistency:
    """Not for free text, of which no two samples are equal. A sample that is no valid answer has no voice."""

    name = "self-consistency"
    version = 1

    def __init__(
        self,
        tier: TierName,
        prompt: JobPrompt,
        parse: Parser,
        *,
        samples: int,
        temperature: float,
        band: float | None,
        max_output_tokens: int | None,
    ) -> None:
        self._tier, self._prompt, self._parse = tier, prompt, parse
        self._samples, self._temperature, self._band = samples, temperature, band
        self._max_output_tokens = max_output_tokens

    async def score(self, case: Case) -> Vote:
        if not undecided(case, self._band):
            return Vote(judge=self.name, version=self.version, score=None)
        request = self._request(case.query, case.document)
        replies = await asyncio.gather(
            *(case.ask(self._tier, request, number) for number in range(1, self._samples + 1)),
            return_exceptions=True,  # none is left in flight when one fails
        )
        values = [self._parse(reply).value for reply in _given(replies)]
        valid = [value for value in values if value is not None]
        if not valid:
            raise NoReply(_why(replies) or f"none of {len(values)} samples of {self._tier} is a valid answer")
        same = sum(value == case.answer.value for value in valid)
        reason = f"{same} of {len(valid)} samples of {self._tier}"
        if len(valid) < self._samples:
            reason += f", {self._samples - len(valid)} without an answer"
        return Vote(judge=self.name, version=self.version, score=same / len(valid), reason=reason)

    def foresee(self, query: Query, document: str) -> list[tuple[TierName, Request]]:
        return [(self._tier, self._request(query, document))] * self._samples

    def _request(self, query: Query, document: str) -> Request:
        request = self._prompt.request(
            query.query_id,
            document,
            logprobs=False,
            max_output_tokens=self._max_output_tokens,
            examples=query.examples,
        )
        return replace(request, temperature=self._temperature)


def _given(replies: Sequence[Completion | BaseException]) -> list[Completion]:
    """Raises what is no matter of one sample."""
    for reply in replies:
        if isinstance(reply, BaseException) and not isinstance(reply, NoReply):
            raise reply
    return [reply for reply in replies if not isinstance(reply, BaseException)]


def _why(replies: Sequence[Completion | BaseException]) -> str:
    return next((str(reply) for reply in replies if isinstance(reply, NoReply)), "")

"""The calls of a batch end together."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def together(asking: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Waits for every one, also when one fails: nothing is in flight once the batch's lease is given up."""
    ended = await asyncio.gather(*asking, return_exceptions=True)
    for failure in ended:
        if isinstance(failure, BaseException):
            raise failure
    return [each for each in ended if not isinstance(each, BaseException)]

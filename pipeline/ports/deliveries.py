"""Webhooks to deliver: kept in the ledger's store before a job closes, until the receiver has them or a day is over."""

from typing import Literal, Protocol

import msgspec

from schemas.ids import Generation, JobId

DeliveryState = Literal["waiting", "delivered", "given_up"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    job: JobId
    generation: Generation
    url: str
    secret_env: str  # the variable that holds the signing secret
    message: str  # its id: the same however often it is sent
    body: str  # JSON, the same however often it is sent
    created_at: int  # Unix ms
    state: DeliveryState = "waiting"
    attempts: int = 0
    next_at: int = 0  # Unix ms; not sent again before
    note: str = ""  # why the last attempt failed


class Deliveries(Protocol):
    async def put(self, delivery: Delivery) -> None:
        """One for each generation of a job; one that is there stays as it is."""
        ...

    async def due(self, now: int) -> list[Delivery]:
        """Those that wait, the one that waits longest first."""
        ...

    async def of(self, job: JobId) -> list[Delivery]:
        """By generation."""
        ...

    async def note(self, delivery: Delivery) -> None:
        """What became of an attempt; one that waits no more stays as it is."""
        ...

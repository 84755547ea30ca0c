"""Telling a receiver that a job has closed: put down before it closes, sent once it has, again until it is taken.

Signed after Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`, in base64. A
receiver that has seen an id may drop the message.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from tenacity import AsyncRetrying, retry_if_result, stop_after_attempt, wait_random_exponential

from pipeline.leased import leased
from pipeline.ports.deliveries import Delivery
from pipeline.providers.endpoint import endpoint_of
from pipeline.providers.loopback import check_host
from pipeline.storage.views import connect
from pipeline.together import together
from pipeline.work import Services, Work
from schemas.errors import BadSecret, TierwiseError
from schemas.ids import Generation, JobId
from schemas.records import Reply

if TYPE_CHECKING:
    from pipeline.report.summary import Summary

ATTEMPTS = 3  # in a row
TIMEOUT_S = 10.0
AT_ONCE = 16
FIRST_MS = 60_000  # until the next attempts; then twice as long each time, at most an hour
LONGEST_MS = 3_600_000
GIVE_UP_MS = 86_400_000
GONE = 410  # the receiver wants no more
LEAST_BYTES = 24  # of a secret
log = logging.getLogger("tierwise.webhook")


def secret_of(variable: str) -> bytes:
    """Raises BadSecret."""
    text = os.environ.get(variable, "")
    if not text:
        raise BadSecret(variable=variable, why="is not set")
    try:
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise BadSecret(variable=variable, why="is no base64 after whsec_") from None
    if len(secret) < LEAST_BYTES:
        raise BadSecret(variable=variable, why=f"holds fewer than {LEAST_BYTES} bytes")
    return secret


def signature(secret: bytes, message: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`; `timestamp` in Unix seconds."""
    said = b"%b.%d.%b" % (message.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(secret, said, "sha256")).decode()


async def put_down(work: Work, generation: Generation, now: int) -> None:
    """What is to be told of the generation, once its final tables stand."""
    use = work.spec.webhook
    if use is None:
        return
    made = work.manifest.created_at
    digest = hashlib.sha256(f"{work.job}/{generation}/{made}".encode()).hexdigest()
    body = await asyncio.to_thread(_body, work, now)
    delivery = Delivery(
        job=work.job,
        generation=generation,
        url=use.url,
        secret_env=use.secret_env,
        message=f"msg_{digest[:32]}",
        body=body,
        created_at=now,
    )
    await work.services.ledger.deliveries.put(delivery)


def _body(work: Work, now: int) -> str:
    from pipeline.report.summary import (
        summarise,  # late: DuckDB, loaded by a worker's first process, complains at its end
    )

    with connect(work.services.storage) as connection:
        summary = summarise(connection, work.job)
    said = {"type": "job.closed", "timestamp": _iso(now), "data": _data(work, summary)}
    return json.dumps(said, default=str, ensure_ascii=False)


def _data(work: Work, summary: "Summary") -> Mapping[str, Any]:
    from pipeline.report.summary import exit_code

    scheduled, rows, certificate = work.manifest.scheduled, work.manifest.incremental, summary.certificate
    return {
        "job": work.job,
        "name": work.spec.name,
        "generation": summary.generation,
        "status": summary.stop or "closed",
        "exit_code": exit_code(summary, work.spec.budget.allow),
        "queries": summary.queries,
        "counts": summary.statuses,
        "cost_usd": f"{summary.cost_usd:f}",
        "presumed_usd": f"{summary.presumed_usd:f}",
        "cap_usd": f"{summary.cap_usd:f}",
        "certificate": certificate and {"state": certificate["state"], "pending": certificate["pending"]},
        "schedule": scheduled and scheduled.schedule,
        "scheduled_at": scheduled and _iso(scheduled.scheduled_at),
        "input": rows and msgspec.structs.asdict(rows),
    }


def _iso(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat()


async def deliver(services: Services) -> None:
    """Send what is due. What fails is noted and due again later; after a day it is given up. A job never fails by
    it."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(due: Delivery) -> None:
        async with at_once:
            await _deliver(services, due)

    due = await services.ledger.deliveries.due(services.clock())
    await together([one(each) for each in due])


async def _deliver(services: Services, due: Delivery) -> None:
    deliveries, row = services.ledger.deliveries, await services.ledger.job(due.job)
    if row is None or (row.generation == due.generation and row.state != "closed"):
        return
    async with leased(services, f"webhook/{due.job}/{due.generation}") as mine:
        now = {each.generation: each for each in await deliveries.of(due.job)} if mine else {}
        if due.generation in now and now[due.generation].state == "waiting":
            await deliveries.note(await _sent(services, now[due.generation]))


async def _sent(services: Services, delivery: Delivery) -> Delivery:
    """The delivery as it stands after some attempts."""
    retrying = AsyncRetrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.5, max=5),
        retry=retry_if_result(_may_pass),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
    attempts = delivery.attempts
    try:
        reply: Reply = await retrying(_post, services, delivery)
        attempts += retrying.statistics["attempt_number"]
        why = reply.error or f"the receiver answered {reply.status}"
    except (TierwiseError, ValueError, OSError) as error:
        reply, why = Reply(status=0, sent=False, complete=False, latency_ms=0), str(error)
    now = services.clock()
    if 200 <= reply.status < 300:
        return msgspec.structs.replace(delivery, state="delivered", attempts=attempts, note="")
    wait = min(LONGEST_MS, FIRST_MS * 2 ** max(0, attempts // ATTEMPTS - 1))
    late = now + wait > delivery.created_at + GIVE_UP_MS or reply.status == GONE
    log.warning("webhook of %s: %s%s", delivery.job, why, "; given up" if late else "")
    return msgspec.structs.replace(
        delivery,
        state="given_up" if late else "waiting",
        attempts=attempts,
        next_at=now + wait,
        note=why,
    )


def _may_pass(reply: Reply) -> bool:
    """Whether the same again may do better in a moment."""
    return not 200 <= reply.status < 500 or reply.status in (408, 429)


async def _post(services: Services, delivery: Delivery) -> Reply:
    body, timestamp = delivery.body.encode(), services.clock() // 1000
    headers = {
        "Content-Type": "application/json",
        "webhook-id": delivery.message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret_of(delivery.secret_env), delivery.message, timestamp, body),
    }
    endpoint = endpoint_of(delivery.url, headers, TIMEOUT_S)
    check_host(endpoint.host)
    return await services.http.post(endpoint, body, delivery.message)


async def webhook_of(services: Services, job: JobId) -> dict[str, Any] | None:
    """What became of telling that the job has closed, the last time it did; None: there is nobody to tell."""
    told = await services.ledger.deliveries.of(job)
    if not told:
        return None
    return {name: getattr(told[-1], name) for name in ("generation", "state", "attempts", "note", "message")}

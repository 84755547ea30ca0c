"""One rig per provider: how it is made, and a request it can answer."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.features.hashing import HashingEncoder
from pipeline.ports.provider import Provider
from pipeline.providers.bedrock import BedrockProvider
from pipeline.providers.embeddings import OpenAIEmbeddings
from pipeline.providers.http import HttpClient
from pipeline.providers.keyword import KeywordTier
from pipeline.providers.openai import OpenAIProvider
from pipeline.providers.outcomes import OutcomesFile
from pipeline.providers.recorded import RecordedProvider
from pipeline.providers.similarity import SimilarityTier
from pipeline.providers.sklearn import SklearnTier
from schemas.ids import QueryId
from schemas.job import Label
from schemas.money import price_of
from schemas.records import Request
from tests.contract.providers.wire import Script, bedrock_body, embeddings_body, openai_body, says

PRICE = price_of(
    input=Decimal("2.5"), cached_input=Decimal("1.25"), cache_write=Decimal("3.125"), output=Decimal(10)
)
TEXTS = [
    "the football match ended",
    "parliament passed the bill",
    "a goal in the last minute",
    "votes and a bill",
]
LABELS = ["sports", "politics", "sports", "politics"]


class Rig(msgspec.Struct, frozen=True):
    name: str
    make: Callable[[str, Path], Provider]  # from the URL of a server and a folder
    ok: Script | None = None  # what the server says; None: nothing goes over a wire
    throttled: Script | None = None
    failing: Script | None = None
    invalid: Script | None = None


def request(text: str = TEXTS[0], *, query_id: str = "q0", **changes: object) -> Request:
    fields: dict[str, object] = {
        "system": "Answer with one label.",
        "user": text,
        "max_output_tokens": 8,
        "query_id": QueryId(query_id),
    }
    return Request(**{**fields, **changes})  # type: ignore[arg-type]


def openai(url: str, folder: Path, **options: object) -> OpenAIProvider:
    settings: dict[str, object] = {
        "tier": "small",
        "model": "m-1",
        "base_url": f"{url}/v1",
        "api_key_env": None,
        "price": PRICE,
        "http": HttpClient(),
        "timeout_s": 2.0,
    }
    return OpenAIProvider(**{**settings, **options})  # type: ignore[arg-type]


def embeddings(url: str, folder: Path) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(
        tier="encoder", model="e-1", base_url=f"{url}/v1", api_key_env=None, price=PRICE, http=HttpClient(),
        dimensions=4, timeout_s=2.0,
    )  # fmt: skip


def bedrock(url: str, folder: Path) -> BedrockProvider:
    return BedrockProvider(
        tier="large",
        model="maker.model-v1:0",
        price=PRICE,
        region="us-east-1",
        endpoint_url=url,
        timeout_s=2.0,
    )


def recorded(url: str, folder: Path) -> RecordedProvider:
    path = folder / "outcomes.parquet"
    columns = {
        "dataset": ["d"] * 4,
        "query_id": ["q0", "q1", "q2", "q3"],
        "text": TEXTS,
        "model": ["m"] * 4,
        "response": LABELS,
        "cost_usd": [0.00001234567891, 0.0, 0.5, 1e-10],
        "confidence": [0.9, None, 0.1, 0.2],
        "latency_s": [1.5, None, 0.1, 0.2],
    }
    pq.write_table(pa.table(columns), path)
    return RecordedProvider(tier="rec", outcomes=OutcomesFile(str(path)), dataset="d", model="m")


def keyword(url: str, folder: Path) -> KeywordTier:
    return KeywordTier(keywords={"sports": ["football", "goal"], "politics": ["bill", "parliament"]})


def similarity(url: str, folder: Path) -> SimilarityTier:
    labels = [Label(name="sports", examples=TEXTS[::2]), Label(name="politics", examples=TEXTS[1::2])]
    return SimilarityTier(labels=labels, encoder=HashingEncoder())


def sklearn(url: str, folder: Path) -> SklearnTier:
    return SklearnTier(texts=TEXTS, labels=LABELS)


def _amazon(code: str) -> dict[str, str]:
    return {"x-amzn-ErrorType": code, "Retry-After": "7"}


OPENAI = Rig(
    "openai",
    openai,
    ok=says(200, openai_body()),
    throttled=says(429, b'{"error":{"message":"slow down"}}', {"Retry-After": "7"}),
    failing=says(500, b"oops", {"Content-Type": "text/plain"}),
    invalid=says(400, b'{"error":{"message":"no such field"}}'),
)
BEDROCK = Rig(
    "bedrock",
    bedrock,
    ok=says(200, bedrock_body()),
    throttled=says(429, b'{"message":"slow down"}', _amazon("ThrottlingException")),
    failing=says(500, b'{"message":"oops"}', _amazon("InternalServerException")),
    invalid=says(400, b'{"message":"no such field"}', _amazon("ValidationException")),
)
EMBEDDINGS = msgspec.structs.replace(
    OPENAI, name="embeddings", make=embeddings, ok=says(200, embeddings_body())
)  # the errors of the same house
LOCAL = [Rig("keyword", keyword), Rig("similarity", similarity), Rig("sklearn", sklearn)]
REMOTE = [OPENAI, BEDROCK]
WIRED = [*REMOTE, EMBEDDINGS]
ALL = [*REMOTE, *LOCAL, Rig("recorded", recorded)]

"""A job of any size over three tiers that needs no data: reports that state their own answer, and the upstream that
reads it there. The tiers' agreement decides: every query asks two of them, some ask all three."""

from typing import Any

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.jobs import write_documents
from tests.upstream.client import Upstream
from tests.upstream.config import UpstreamConfig

LABELS = ("north", "east", "south", "west")
PRICES = {
    "small": {"input": "0.1", "output": "0.4"},
    "middle": {"input": "0.5", "output": "2"},
    "large": {"input": "2", "output": "8"},
}
ACCURACY = {"small": 0.7, "middle": 0.8, "large": 0.95}
ACCEPT = {"small": 0.9, "middle": 0.8, "large": 0.0}


def upstream_of(**behaviour: Any) -> UpstreamConfig:
    return UpstreamConfig(rule="echo-label", labels=LABELS, accuracy=ACCURACY, prices=PRICES, **behaviour)


def reports(
    place: Tierwise, upstream: Upstream, name: str, queries: int, *, batch: int, slots: int, usd: str = "100"
) -> str:
    """The spec's path; the queries are q0, q1, …"""
    texts = [
        f"[gold={LABELS[number % 4]}] Report {number} of the weather station." for number in range(queries)
    ]
    documents = write_documents(place.folder / f"{name}.parquet", texts)
    tiers = [
        {
            "name": model, "provider": "openai", "model": model, "base_url": upstream.url, "api_key_env": None,
            "price": PRICES[model], "structured": "none", "logprobs": False, "accept": accept, "trust": 0.6,
            "max_concurrency": slots,
        }
        for model, accept in ACCEPT.items()
    ]  # fmt: skip
    return write_spec(
        place,
        {
            "version": 1,
            "name": name,
            "task": {"kind": "classify", "instructions": "Where is the wind from?", "labels": list(LABELS)},
            "input": {"path": str(documents), "id": "id", "text": "text", "batch": {"rows": batch}},
            "tiers": tiers,
            "budget": {"usd": usd},
            "history": "none",
        },
    )

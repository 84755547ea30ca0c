from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.providers.outcomes import OutcomesFile
from pipeline.providers.recorded import RecordedProvider
from schemas.errors import InputError, UnpricedModel
from schemas.ids import CallId
from schemas.money import Usage, price_of
from schemas.records import Completion, Request
from tests.contract.providers.rigs import TEXTS, recorded, request


def without_costs(folder: Path, **columns: Any) -> OutcomesFile:
    rows: dict[str, Any] = {
        "dataset": ["d"],
        "query_id": ["q"],
        "text": ["äbcdefgh"],
        "model": ["m"],
        "response": ["abcde"],
        "cost_usd": pa.array([None], pa.float64()),
        **columns,
    }
    pq.write_table(pa.table(rows), folder / "o.parquet")
    return OutcomesFile(str(folder / "o.parquet"))


async def ask(provider: RecordedProvider, asked: Request) -> tuple[int, Completion | None]:
    reply = await provider.send(provider.encode(asked), CallId("c"))
    return reply.latency_ms, provider.read(reply.body) if reply.status == 200 else None


async def test_the_recorded_cost_is_ceiled_to_nano_and_is_the_bound(tmp_path: Path) -> None:
    provider = recorded("", tmp_path)
    for text, cost in zip(TEXTS, [12346, 0, 500_000_000, 1], strict=True):
        _, completion = await ask(provider, request(text))
        assert completion is not None
        assert provider.cost(completion) == cost == provider.bound(request(text))


async def test_confidence_and_latency_are_the_recorded_ones(tmp_path: Path) -> None:
    latency, completion = await ask(recorded("", tmp_path), request(TEXTS[0]))
    assert completion is not None
    assert (latency, completion.confidence) == (1500, 0.9)


async def test_a_changed_text_is_found_by_its_query(tmp_path: Path) -> None:
    _, completion = await ask(recorded("", tmp_path), request("cut short", query_id="q1"))
    assert completion is not None
    assert completion.text == "politics"


async def test_an_unknown_query_is_not_found_and_free(tmp_path: Path) -> None:
    provider = recorded("", tmp_path)
    asked = request("never seen", query_id="q99")
    reply = await provider.send(provider.encode(asked), CallId("c"))
    assert (reply.status, provider.bound(asked)) == (404, 0)


async def test_without_a_cost_tokens_times_price(tmp_path: Path) -> None:
    price = price_of(input=Decimal(1), output=Decimal(2))
    provider = RecordedProvider(
        tier="t", outcomes=without_costs(tmp_path), dataset="d", model="m", price=price
    )
    asked = request("äbcdefgh")
    _, completion = await ask(provider, asked)
    assert completion is not None
    assert completion.usage == Usage(input=3, output=2)  # nine bytes, five bytes
    assert provider.cost(completion) == provider.bound(asked) == price.cost(Usage(input=3, output=2))


async def test_recorded_tokens_come_before_modelled_ones(tmp_path: Path) -> None:
    price = price_of(input=Decimal(1), output=Decimal(2))
    outcomes = without_costs(tmp_path, input_tokens=[70], output_tokens=[7])
    provider = RecordedProvider(tier="t", outcomes=outcomes, dataset="d", model="m", price=price)
    _, completion = await ask(provider, request("äbcdefgh"))
    assert completion is not None
    assert completion.usage == Usage(input=70, output=7)


def test_what_is_missing_is_said_before_the_first_call(tmp_path: Path) -> None:
    outcomes = without_costs(tmp_path)
    with pytest.raises(UnpricedModel, match="records no cost"):
        RecordedProvider(tier="t", outcomes=outcomes, dataset="d", model="m").check()
    with pytest.raises(InputError, match="no outcome of 'other'"):
        RecordedProvider(tier="t", outcomes=outcomes, dataset="d", model="other").check()
    with pytest.raises(InputError, match="missing"):
        RecordedProvider(
            tier="t", outcomes=OutcomesFile(str(tmp_path / "missing.parquet")), dataset="d", model="m"
        ).check()


def test_a_file_is_read_once_for_all_tiers(tmp_path: Path) -> None:
    outcomes = without_costs(tmp_path)
    rows = outcomes.rows("d", "m")
    (tmp_path / "o.parquet").unlink()
    assert outcomes.rows("d", "m") is rows

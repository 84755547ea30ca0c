"""Usage exports of every form, and what is said of those that are none."""

import csv
import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.reconcile.cur import classify
from pipeline.reconcile.exports import read_exports
from pipeline.reconcile.usage import Billed
from schemas.errors import UsageError

DAY = date(2026, 11, 10)
START = int(datetime(2026, 11, 10, tzinfo=UTC).timestamp())
NAME = "gpt-4.1-nano-2025-04-14"


def openai_result(**changes: Any) -> dict[str, Any]:
    return {
        "object": "organization.usage.completions.result", "input_tokens": 1000, "input_cached_tokens": 800,
        "output_tokens": 500, "num_model_requests": 5, "project_id": None, "model": NAME, "batch": None, **changes,
    }  # fmt: skip


def openai_page(*results: Any, start: int = START, seconds: int = 86_400, **changes: Any) -> dict[str, Any]:
    bucket = {"object": "bucket", "start_time": start, "end_time": start + seconds, "results": list(results)}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None, **changes}


def anthropic_page(**changes: Any) -> dict[str, Any]:
    result = {
        "uncached_input_tokens": 1500, "cache_read_input_tokens": 200, "output_tokens": 700, "service_tier": "standard",
        "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 50},
        "model": "claude-opus-4-20250514", **changes,
    }  # fmt: skip
    times = {"starting_at": "2026-11-10T00:00:00Z", "ending_at": "2026-11-11T00:00:00Z"}
    return {"data": [{**times, "results": [result]}], "has_more": False, "next_page": None}


def cur_line(usage_type: str, amount: str, cost: str = "0.5", **changes: Any) -> dict[str, Any]:
    return {
        "line_item_usage_type": usage_type, "line_item_usage_start_date": "2026-11-10 05:00:00",
        "line_item_usage_amount": amount, "line_item_unblended_cost": cost, "pricing_unit": "1K tokens",
        "line_item_product_code": "AmazonBedrock", "line_item_line_item_type": "Usage",
        "line_item_currency_code": "USD", "product": "{}", **changes,
    }  # fmt: skip


def write(folder: Path, data: Any, name: str = "usage.json") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def write_csv(folder: Path, rows: list[dict[str, Any]], name: str = "usage.csv") -> Path:
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_openai_pages(tmp_path: Path) -> None:
    found = read_exports([write(tmp_path, openai_page(openai_result(), openai_result(batch=True)))])
    tokens = {"input": 200, "cached_input": 800, "output": 500}
    assert found.form == "openai"
    assert found.billed == (
        Billed(model=NAME, day=DAY, tokens=tokens, requests=5),
        Billed(model=f"{NAME} (batch)", day=DAY, tokens=tokens, requests=5),
    )
    assert found.days == {DAY}


def test_openai_says_which_classes_it_tells_apart(tmp_path: Path) -> None:
    bare = {name: value for name, value in openai_result().items() if name != "input_cached_tokens"}
    written = openai_result(input_cache_write_tokens=50)
    found = read_exports([write(tmp_path, openai_page(bare, written))])
    assert [line.tokens for line in found.billed] == [
        {"input": 1000, "output": 500},
        {"input": 150, "cached_input": 800, "cache_write": 50, "output": 500},
    ]


def test_embeddings_beside_completions(tmp_path: Path) -> None:
    embedded = {"object": "organization.usage.embeddings.result", "input_tokens": 70, "num_model_requests": 2}
    pages = [openai_page(openai_result()), openai_page(embedded | {"model": "text-embedding-3-small"})]
    found = read_exports([write(tmp_path, page, f"{number}.json") for number, page in enumerate(pages)])
    assert [(line.tokens["input"], line.tokens["output"]) for line in found.billed] == [(200, 500), (70, 0)]
    assert found.days == {DAY}


@pytest.mark.parametrize("form", ["list", "lines", "files"])
def test_pages_in_one_file_or_in_several(tmp_path: Path, form: str) -> None:
    pages = [openai_page(openai_result(), has_more=True), openai_page(start=START + 86_400)]
    match form:
        case "list":
            paths = [write(tmp_path, pages)]
        case "lines":
            paths = [write(tmp_path, "\n".join(map(json.dumps, pages)))]
        case _:
            paths = [write(tmp_path, page, f"{number}.json") for number, page in enumerate(pages)]
    found = read_exports(paths)
    assert (len(found.billed), len(found.days)) == (1, 2)


def test_a_day_is_covered_by_buckets_from_midnight_to_midnight(tmp_path: Path) -> None:
    hours = [openai_page(openai_result(), start=START + 3600 * hour, seconds=3600) for hour in range(24)]
    found = read_exports([write(tmp_path, hours)])
    assert (found.days, len(found.billed)) == ({DAY}, 24)
    found = read_exports([write(tmp_path, hours[:23])])
    assert found.days == set()


def test_openai_csv(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for number, fields in enumerate([openai_result(batch="False"), {}, openai_result(output_tokens="7")]):
        time = {"start_time": START + number * 86_400, "end_time": START + (number + 1) * 86_400}
        rows.append(time | {name: fields.get(name, "") for name in openai_result()})
    found = read_exports([write_csv(tmp_path, rows)])
    assert [(line.day.day, line.tokens["output"]) for line in found.billed] == [(10, 500), (12, 7)]
    assert (sorted(day.day for day in found.days), found.sparse) == ([10, 11, 12], True)


def test_anthropic_pages(tmp_path: Path) -> None:
    found = read_exports([write(tmp_path, anthropic_page())])
    tokens = {"input": 1500, "cached_input": 200, "cache_write": 1050, "output": 700}
    assert found.billed == (Billed(model="claude-opus-4-20250514", day=DAY, tokens=tokens),)
    assert (found.form, found.days) == ("anthropic", {DAY})
    batch = read_exports([write(tmp_path, anthropic_page(service_tier="batch"))])
    assert batch.billed[0].model == "claude-opus-4-20250514 (batch)"


LINES = [
    cur_line("USE1-Claude3Haiku-input-tokens", "12.345", "0.003"),
    cur_line("USE1-Claude3Haiku-output-tokens", "0.5"),
    cur_line("USE1-NovaLite-cache-read-input-token-count", "2"),
    cur_line("USE1-TitanImage-T2I-512-Standard", "3"),
    cur_line("EUC1-BoxUsage:t3.micro", "24", line_item_product_code="AmazonEC2"),
    cur_line("USE1-Claude3Haiku-input-tokens", "0", line_item_line_item_type="Tax"),
    cur_line(
        "USE1-MP:USE1_OutputTokenCount-Units", "0.000007", pricing_unit="Units",
        product='{"product_name": "Claude Sonnet 4.6 (Amazon Bedrock Edition)"}', line_item_product_code="b7x",
    ),
]  # fmt: skip
BILLED = [
    ("Claude3Haiku", "input", 12_345), ("Claude3Haiku", "output", 500), ("NovaLite", "cached_input", 2000),
    ("Claude Sonnet 4.6", "output", 7),
]  # fmt: skip


def old_name(name: str) -> str:
    """line_item_usage_type as the older report has it: lineItem/UsageType."""
    for group in ("line_item", "pricing", "product"):
        if name.startswith(f"{group}_"):
            first, *others = group.split("_")
            rest = "".join(word.capitalize() for word in name.removeprefix(f"{group}_").split("_"))
            return f"{first}{''.join(map(str.capitalize, others))}/{'unit' if rest == 'Unit' else rest}"
    return name


@pytest.mark.parametrize("form", ["csv", "csv.gz", "older.csv", "parquet"])
def test_cost_and_usage_reports(tmp_path: Path, form: str) -> None:
    if form == "parquet":
        maps = [list(json.loads(line["product"]).items()) for line in LINES]
        times = [datetime(2026, 11, 10, 5)] * len(LINES)
        columns: dict[str, Any] = {name: [line[name] for line in LINES] for name in LINES[0]}
        columns["line_item_usage_amount"] = [float(line["line_item_usage_amount"]) for line in LINES]
        columns |= {"line_item_usage_start_date": times, "something_else": ["x"] * len(LINES)}
        columns["product"] = pa.array(maps, pa.map_(pa.string(), pa.string()))
        path = tmp_path / "report.snappy.parquet"
        pq.write_table(pa.table(columns), path)
    else:
        names = old_name if form == "older.csv" else str
        path = write_csv(tmp_path, [{names(name): value for name, value in line.items()} for line in LINES])
        if form == "csv.gz":
            packed = tmp_path / "usage.csv.gz"
            packed.write_bytes(gzip.compress(path.read_bytes()))
            path = packed
    found = read_exports([path])
    told = [
        (line.model, name, number) for line in found.billed for name, number in line.tokens.items() if number
    ]
    assert told == BILLED
    assert (found.form, found.days, found.billed[0].cost) == ("bedrock", {DAY}, Decimal("0.003"))
    assert found.left_out == {
        "lines of usage type USE1-TitanImage-T2I-512-Standard": 1, "lines of type Tax": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("usage_type", "product", "known"),
    [
        ("USE1-NovaPro-cache-write-input-token-count", "", ("NovaPro", "cache_write")),
        ("USE1-Claude4Sonnet-output-tokens-cross-region-global", "", ("Claude4Sonnet", "output")),
        ("USE1-Llama3-1-405B-output-tokens-batch", "", ("Llama3-1-405B (batch)", "output")),
        ("USE1-NovaPro-input-tokens-latency-optimized", "", ("NovaPro (latency-optimized)", "input")),
        ("USE1-openai.gpt-oss-120b-mantle-input-tokens-standard", "", ("openai.gpt-oss-120b", "input")),
        (
            "USE1-MP:USE1_input_tokens_global_standard-Units",
            "Claude X (Amazon Bedrock Edition)",
            ("Claude X", "input"),
        ),
        ("USE1-MP:USE1_CacheWrite1hInputTokenCount_Global-Units", "Claude X", ("Claude X", "cache_write")),
        ("USE1-MP:USE1_MillionBatchInputTokens-Units", "Claude X", ("Claude X (batch)", "input")),
        ("USE1-MP:USE1_InputTokenCount-Units", "", None),
        ("USE1-Bedrock-ModelStorage", "", None),
    ],
)
def test_usage_types(usage_type: str, product: str, known: tuple[str, str] | None) -> None:
    assert classify(usage_type, product) == known


@pytest.mark.parametrize(
    ("data", "said", "fix"),
    [
        (openai_page(openai_result(model=None)), "data[0].results[0]: it names no model", "group_by[]=model"),
        (openai_page(openai_result(input_tokens=-1)), "input_tokens is '-1', no whole number", ""),
        (openai_page(openai_result(input_tokens="many")), "input_tokens is 'many'", ""),
        (openai_page(openai_result(input_cached_tokens=2000)), "more input tokens are cached", ""),
        (openai_page({"object": "organization.usage.completions.result", "model": "m", "input_tokens": 1}),
         "results[0]: it has no output_tokens", ""),
        (openai_page({"model": "m"}), "results[0]: it has no input_tokens", "Known here: model"),
        (openai_page(has_more=True), "every page of it says has_more", "page=NEXT_PAGE"),
        ([openai_page(openai_result())] * 2, "page 2, data[0]: the bucket from 2026-11-10T00:00:00Z is there", "once"),
        (openai_page(start=START + 3600), "crosses midnight UTC", "bucket_width=1d"),
        (openai_page(seconds=-1), "before it starts", ""),
        ([openai_page(), openai_page(start=START + 3600, seconds=3600)], "overlaps an earlier one", "bucket_width"),
        (anthropic_page(model=None), "names no model", "group_by[]=model"),
        ({"data": [{"starting_at": "today"}]}, "starting_at is 'today', no time", ""),
        ({"data": [{"date": "2026"}]}, "neither start_time nor starting_at, but date", "usage/completions"),
        ({"data": [{"start_time": START, "end_time": START + 86_400, "results": 3}]}, "`results` is no list", ""),
        ({"data": [7]}, "data[0]: it is no object", ""),
        ({"data": []}, "it holds no bucket", "usage/completions"),
        ({"rows": []}, "it has no list `data`", "usage/completions"),
        ('{"data": [\n  {"start', "line 2, column", "whole"),
        ('{"data": "\udcff"}'.encode("utf-8", "surrogateescape"), "not UTF-8", ""),
    ],
)  # fmt: skip
def test_pages_that_cannot_be_read(tmp_path: Path, data: Any, said: str, fix: str) -> None:
    path = tmp_path / "usage.json"
    path.write_bytes(data) if isinstance(data, bytes) else write(tmp_path, data)
    with pytest.raises(UsageError) as refused:
        read_exports([path])
    assert said in refused.value.message
    assert str(path) in refused.value.message
    assert fix in refused.value.fix
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "said", "fix"),
    [
        ({"line_item_usage_amount": "much"}, "row 1: line_item_usage_amount is 'much', no number", ""),
        ({"line_item_usage_amount": ""}, "row 1: line_item_usage_amount is ''", ""),
        ({"pricing_unit": "Hrs"}, "pricing_unit is 'Hrs'", "1k tokens"),
        ({"line_item_currency_code": "CNY"}, "its cost is in CNY", "in USD"),
        ({"line_item_usage_start_date": "soon"}, "line_item_usage_start_date is 'soon'", ""),
    ],
)
def test_reports_that_cannot_be_read(tmp_path: Path, changes: dict[str, Any], said: str, fix: str) -> None:
    path = write_csv(tmp_path, [{**LINES[0], **changes}])
    with pytest.raises(UsageError) as refused:
        read_exports([path])
    assert said in refused.value.message
    assert fix in refused.value.fix


def test_files_that_are_no_export(tmp_path: Path) -> None:
    for name, data, said in (
        ("a.csv", "date,dollars\n2026-11-10,3\n", "those of no export known: date, dollars"),
        ("b.csv", "", "those of no export known"),
        ("c.csv", "start_time,end_time,input_tokens\n1,2\n", "line 2: 2 cells, the header has 3"),
        ("d.parquet", "PAR1", "Parquet"),
        ("e.csv.gz", "no gzip", "Not a gzipped file"),
    ):
        with pytest.raises(UsageError, match=said):
            read_exports([write(tmp_path, data, name)])
    with pytest.raises(UsageError, match="No such file"):
        read_exports([tmp_path / "none.json"])
    twice = [write(tmp_path, openai_page(openai_result()), name) for name in ("one.json", "two.json")]
    with pytest.raises(UsageError, match="it is the same as"):
        read_exports(twice)
    with pytest.raises(UsageError, match="together they are of bedrock and openai"):
        read_exports([twice[0], write_csv(tmp_path, LINES)])

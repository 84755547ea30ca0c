"""What each command says over one finished job, to people and to machines."""

import csv
import io
import os
import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.data import data_file
from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import textclass, write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import ladder_spec, recorded
from tests.upstream.client import Upstream

ROWS = 80
MARKUP = "<script>alert(1)</script> & [/b] [red]"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with textclass("env_claims_en") as running:
        yield running


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Tierwise:
    """A place with the spec env.yaml in it, and nothing run yet."""
    place = Tierwise(folder=tmp_path_factory.mktemp("commands"))
    source = recorded(data_file("outcomes_textclass_en.parquet"), "textclass/env_claims_en", place.folder)
    write_spec(place, ladder_spec(source, upstream.url, name="env", usd="0.5"))
    return place


@pytest.fixture(scope="module")
def finished(shop: Tierwise, upstream: Upstream) -> dict[str, Any]:
    """What `run` said of the job `env`."""
    said = tierwise(shop, "run", "env.yaml", "--job", "env", "--limit", str(ROWS), "--json").json()
    said["billed"] = upstream.meter_total_nano()
    assert isinstance(said, dict)
    return said


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Tierwise:
    """A place with the job `marked`, whose documents, labels and ids are full of markup."""
    place = Tierwise(folder=tmp_path_factory.mktemp("marked"))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([["id", "text", "gold"], [MARKUP, f"apple {MARKUP}", MARKUP], ["plain", "pear", MARKUP]])
    (place.folder / "rows.csv").write_text(text.getvalue())
    tier = {"name": "words", "provider": "keyword", "keywords": {"[/i]": ["apple"], MARKUP: ["plum"]}}
    labels = ["[/i]", MARKUP]
    spec = {
        "name": "marked",
        "task": {"kind": "classify", "labels": labels},
        "input": {"path": "rows.csv", "id": "id", "gold": "gold"},
        "tiers": [tier],
        "budget": {"usd": 0, "allow": {"failed": 1}},
    }
    printed = tierwise(place, "run", write_spec(place, spec), "--job", "marked").out
    assert "mistaken for" in printed
    return place


def test_run_reports_what_was_billed(shop: Tierwise, finished: dict[str, Any]) -> None:
    # Given a finished job of the first rows; then its cost is the provider's meter's, under its cap
    assert finished["queries"] == ROWS
    assert finished["statuses"] == {"answered": ROWS}
    assert Decimal(finished["cost_usd"]) * 10**9 == finished["billed"]
    assert finished["billed"] <= 500_000_000
    assert sum(tier["answered"] for tier in finished["tiers"]) == ROWS
    assert sum(Decimal(tier["cost_usd"]) for tier in finished["tiers"]) == Decimal(finished["cost_usd"])


def test_why_shows_every_tier_judge_and_call(shop: Tierwise, finished: dict[str, Any]) -> None:
    # Given a query that went up the whole ladder
    query = shop.rows("SELECT query_id FROM results WHERE len(tiers_asked) = 3 ORDER BY query_id")[0][
        "query_id"
    ]
    # When it is asked about
    said = tierwise(shop, "why", "env", query, "--json").json()
    printed = tierwise(shop, "why", "env", query).out
    # Then each tier, with its verdict, each judge with its score, and each call with its cost are there
    assert [step["tier"] for step in said["decisions"]] == ["nano", "mini", "large"]
    assert [step["accepted"] for step in said["decisions"]] == [False, False, True]
    voted = {(vote["position"], vote["judge"]) for vote in said["votes"] if vote["score"] is not None}
    assert voted == {(0, "valid"), (1, "valid"), (2, "valid"), (1, "agreement"), (2, "agreement")}
    total = sum(Decimal(call["cost_usd"]) for call in said["calls"])
    assert total == Decimal(said["result"]["cost_usd"]) > 0
    for step in said["decisions"]:
        assert f"{step['position'] + 1}. {step['tier']}: '{step['answer']}'" in printed
        assert step["reason"] in printed
    for call in said["calls"]:
        assert call["call_id"][:8] in printed
        assert f"${call['cost_usd']}" in printed
    assert all(f"{vote['judge']} {vote['score']:.2f}" in printed for vote in said["votes"] if vote["score"])
    assert said["result"]["text"][:100] in printed


def test_report_on_the_terminal(shop: Tierwise, finished: dict[str, Any]) -> None:
    printed = tierwise(shop, "report", "env").out
    assert f"env (generation 1): {ROWS} answered" in printed
    assert f"${Decimal(finished['cost_usd']):,.6f} of a cap of $0.50" in printed
    assert f"{finished['accuracy']:.1%} ({finished['correct']} of {ROWS})" in printed
    for tier in finished["tiers"]:
        assert f"${Decimal(tier['cost_usd']):,.6f}" in printed
    # And for machines all that `run` said, and more
    kept = tierwise(shop, "report", "env", "--json").json()
    assert set(finished) - set(kept) == {"billed", "lake", "exit_code"}
    assert kept == kept | {name: value for name, value in finished.items() if name in kept}
    assert [row["asked"] for row in kept["flow"]] == [tier["asked"] for tier in finished["tiers"]]
    assert Decimal(kept["spending"][-1]["usd"]) > 0


def test_report_as_markdown(shop: Tierwise, finished: dict[str, Any]) -> None:
    tierwise(shop, "report", "env", "-o", "report.md")
    text = (shop.folder / "report.md").read_text()
    assert text.startswith("# env\n")
    assert f"| {finished['accuracy']:.1%} |" in text
    lines = text.splitlines()
    for tier in finished["tiers"]:
        assert any(line.startswith(f"| {tier['tier']} | {tier['asked']} |") for line in lines)
    # Then every table is one: as many cells in each of its rows as in its head
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) > 5
    assert all(len({line.count("|") - line.count("\\|") for line in table}) == 1 for table in tables)


def test_a_report_of_an_unknown_form(shop: Tierwise, finished: dict[str, Any]) -> None:
    said = tierwise(shop, "report", "env", "-o", "report.pdf", code=2)
    assert "FILE.html or FILE.md" in " ".join(said.err.replace("│", " ").split())


class Page(HTMLParser):
    """Checks that what is opened is closed, and collects cells."""

    VOID = ("meta", "br", "img", "link", "input", "hr")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_report_as_a_page(shop: Tierwise, finished: dict[str, Any]) -> None:
    tierwise(shop, "report", "env", "-o", "page.html")
    html = (shop.folder / "page.html").read_text()
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert page.open == []
    assert f"${Decimal(finished['cost_usd']):.6f}" in page.texts
    assert f"{finished['accuracy']:.1%}" in page.texts
    for tier in finished["tiers"]:
        assert {tier["tier"], str(tier["answered"]), f"${Decimal(tier['cost_usd']):.6f}"} <= set(page.texts)
    assert f"{finished['dearest'][0]['query_id']}: answered" in html
    # And it names no other place, nor runs anything
    assert "://" not in html
    assert "script" not in page.tags


def test_a_page_that_cannot_be_written(shop: Tierwise, finished: dict[str, Any]) -> None:
    said = tierwise(shop, "report", "env", "-o", "no/such/folder/page.html", code=2)
    assert "cannot be written" in " ".join(said.err.split())


def test_markup_in_documents_stays_text(marked: Tierwise) -> None:
    # Given a job whose documents, ids and labels look like HTML and like terminal markup
    tierwise(marked, "report", "marked", "-o", "page.html")
    page = Page((marked.folder / "page.html").read_text())
    # Then the page shows them, and none becomes an element
    assert MARKUP in page.texts
    assert "script" not in page.tags
    # And so do Markdown and the terminal
    tierwise(marked, "report", "marked", "-o", "page.md")
    written = (marked.folder / "page.md").read_text()
    assert r"\<script\>alert(1)\</script\> \& \[/b\] \[red\]" in written
    assert "<" not in written.replace(r"\<", "")
    assert "[/i]" in tierwise(marked, "report", "marked").out
    why = tierwise(marked, "why", "marked", MARKUP).out
    assert f"{MARKUP}: answered, '[/i]' by words" in why
    assert f"document: apple {MARKUP}" in why
    assert "[red]" in tierwise(marked, "query", "SELECT text FROM documents").out


def test_query_in_three_forms(shop: Tierwise, finished: dict[str, Any]) -> None:
    sql = "SELECT tier, count(*) AS queries, sum(cost_usd) AS usd FROM results GROUP BY tier ORDER BY tier"
    expected = [
        {"tier": row["tier"], "queries": row["queries"], "usd": f"{row['usd']:f}"} for row in shop.rows(sql)
    ]
    assert tierwise(shop, "query", sql, "--json").json() == expected
    assert tierwise(shop, "query", sql, "--format", "json").json() == expected
    lines = list(csv.DictReader(io.StringIO(tierwise(shop, "query", sql, "--format", "csv").out)))
    assert [{**line, "queries": int(line["queries"])} for line in lines] == expected
    table = tierwise(shop, "query", sql).out
    for row in expected:
        assert any(str(row["queries"]) in line and row["usd"] in line for line in table.splitlines())


def test_query_prints_rows_that_are_wider_than_the_terminal(shop: Tierwise, finished: dict[str, Any]) -> None:
    printed = tierwise(shop, "query", "FROM results ORDER BY query_id LIMIT 2").out.splitlines()
    assert printed.count("job: env") == 2
    assert "status: answered" in printed


def test_query_prints_what_json_has_no_form_for(shop: Tierwise, finished: dict[str, Any]) -> None:
    numbers = "'nan'::DOUBLE AS a, MAP {DATE '2026-01-02': ['inf'::DOUBLE]} AS b, 0::DECIMAL(9, 9) AS d"
    sql = f"SELECT {numbers}, 1 AS c, 2 AS c"
    row = {"a": None, "b": {"2026-01-02": [None]}, "c": 1, "c_1": 2, "d": "0.000000000"}
    assert tierwise(shop, "query", sql, "--json").json() == [row]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY results TO 'stolen.csv'",
        "COPY (SELECT 1) TO 'stolen.csv'",
        "EXPORT DATABASE 'stolen.csv'",
        "ATTACH 'stolen.csv'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '1GB'",
        "PRAGMA database_list",
        "INSERT INTO results VALUES (1)",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW results",
        "CALL pragma_version()",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY results TO 'stolen.csv'",
        "EXPLAIN ANALYZE SELECT 1",
        "explain (analyze) COPY results TO 'stolen.csv'",
        "EXPLAIN COPY results TO 'stolen.csv'",
        "EXPLAIN /* ) SELECT 1 -- */ ANALYZE COPY results TO 'stolen.csv'",
        "EXPLAIN ( /* ) SELECT 1 -- */ ANALYZE) COPY results TO 'stolen.csv'",
        "EXPLAIN (FORMAT json, ANALYZE) COPY results TO 'stolen.csv'",
        # typed SELECT by DuckDB 2.0
        "WITH a AS (COPY (SELECT 1) TO 'stolen.csv') SELECT 1",
        "SELECT * FROM (WITH a AS (COPY (SELECT 1) TO 'stolen.csv') SELECT 1)",
        "WITH a AS (COPY (SELECT 1) TO 'lake/results/stolen.csv') SELECT 1",
        "EXPLAIN WITH a AS (COPY (SELECT 1) TO 'stolen.csv') SELECT 1",
        "WITH a AS (DELETE FROM results RETURNING *) FROM a",
        "FROM query('COPY (SELECT 1) TO ''stolen.csv''')",
        "FROM query('WITH a AS (COPY (SELECT 1) TO ''lake/results/stolen.csv'') SELECT 1')",
        "FROM query_table('stolen.csv')",
        "",
        "/* nothing */",
        "SELEC 1",
        "SELECT nothing FROM results",
        "SELECT text::INTEGER FROM documents",
    ],
)
def test_query_refuses_all_but_one_statement_that_reads(
    shop: Tierwise, finished: dict[str, Any], sql: str
) -> None:
    said = tierwise(shop, "query", sql, "--json", code=2).json()
    assert said["error"] == "QueryRefused"
    assert said["fix"]
    assert not list(shop.folder.rglob("stolen.csv"))


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT 1",
        "explain (format json) SELECT 1",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "WITH RECURSIVE a AS MATERIALIZED (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 0) FROM a",
        "(SELECT 'COPY' AS copy) EXCEPT SELECT '\"type\":\"COPY_QUERY_NODE\"'",
        "FROM query('SELECT 1')",
        "FROM jobs;",
    ],
)
def test_query_answers_what_reads(shop: Tierwise, finished: dict[str, Any], sql: str) -> None:
    assert len(tierwise(shop, "query", sql, "--json").json()) == 1


def test_a_long_query_ends_on_ctrl_c(shop: Tierwise, finished: dict[str, Any]) -> None:
    # Given a query that would run for hours, and is past the start of its process
    running = shop.start(
        "query",
        "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE (a.range + b.range) % 7 > 9",
    )
    try:
        while _cpu_s(running.pid) < 6:
            assert running.poll() is None, running.communicate()
            time.sleep(0.05)
        # When it is interrupted, it ends
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)
        assert running.returncode == 130
    finally:
        running.kill()
        running.wait()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_status_of_one_and_of_all(shop: Tierwise, finished: dict[str, Any]) -> None:
    said = tierwise(shop, "status", "env", "--json").json()
    assert (said["state"], said["queries"], said["done"]) == ("closed", ROWS, ROWS)
    assert said["spent_usd"] == finished["cost_usd"]
    assert Decimal(said["spent_usd"]) + Decimal(said["held_usd"]) <= Decimal(said["cap_usd"])
    assert said["tiers"] == {tier["tier"]: tier["answered"] for tier in finished["tiers"] if tier["answered"]}
    printed = tierwise(shop, "status", "env").out
    assert f"queries {ROWS} of {ROWS}" in printed
    assert "env" in [row["job"] for row in tierwise(shop, "status", "--json").json()]
    assert "env  closed" in tierwise(shop, "status").out


@pytest.mark.timeout(120)
def test_watch_ends_when_the_job_is_closed(shop: Tierwise, upstream: Upstream) -> None:
    # Given a job that runs in another process
    upstream.control(latency_ms=400)
    running = shop.start("run", "env.yaml", "--job", "watched", "--limit", "150")
    try:
        while tierwise(shop, "status", "watched", code=None).code:
            assert running.poll() is None
            time.sleep(0.05)
        # When it is watched
        said = tierwise(shop, "status", "watched", "--watch")
        # Then that lasts until it is closed, and ends with what it came to
        assert "watched closed · 150 of 150 queries" in said.out
        assert "watched (generation 1): 150 answered" in said.out
        assert tierwise(shop, "status", "watched", "--json").json()["state"] == "closed"
    finally:
        upstream.control(latency_ms=0)
        running.communicate(timeout=60)
    assert running.returncode == 0


def test_estimate_needs_no_key_and_holds(
    shop: Tierwise, finished: dict[str, Any], upstream: Upstream
) -> None:
    # Given the same job with a key that is not set
    text = (shop.folder / "env.yaml").read_text()
    keyed = text.replace("api_key_env: null", "api_key_env: NO_SUCH_KEY")
    assert keyed != text
    (shop.folder / "keyed.yaml").write_text(keyed)
    tierwise(shop, "run", "keyed.yaml", code=2)
    billed = upstream.stats().metered
    # When it is estimated
    said = tierwise(shop, "estimate", "keyed.yaml", "--limit", str(ROWS), "--json").json()
    # Then nothing is sent, and what the job did cost lies between the floor and the bound
    assert upstream.stats().metered == billed
    assert said["queries"] == ROWS
    low, guess, high = (Decimal(said[f"{name}_usd"]) for name in ("low", "expected", "high"))
    bound = sum(Decimal(tier["bound_usd"]) for tier in said["tiers"])
    assert 0 < low <= guess <= high <= bound
    assert low <= Decimal(finished["cost_usd"]) <= bound
    assert said["cap_usd"] == "0.500000000"
    assert f"{ROWS} queries" in tierwise(shop, "estimate", "keyed.yaml", "--limit", str(ROWS)).out


def test_estimate_counts_the_rows_a_job_would_have(shop: Tierwise) -> None:
    # Given rows of which some are kept out, and some are empty
    rows = [f"{number},{'b' if number % 2 else 'a'},{'' if number > 7 else 'word'}" for number in range(10)]
    (shop.folder / "kept.csv").write_text("\n".join(["id,kind,text", *rows]))
    spec = {
        "name": "kept",
        "task": {"kind": "classify", "labels": ["a", "b"]},
        "input": {"path": "kept.csv", "where": {"kind": "b"}},
        "tiers": [{"name": "words", "provider": "keyword", "keywords": {"a": ["word"]}}],
        "budget": {"usd": 0},
    }
    path = write_spec(shop, spec)
    assert tierwise(shop, "estimate", path, "--json").json()["queries"] == 4
    assert tierwise(shop, "estimate", path, "--limit", "3", "--json").json()["queries"] == 3


def test_budget_and_limit_override_the_spec(shop: Tierwise, upstream: Upstream) -> None:
    # Given a budget on the command line that is too small
    billed = upstream.meter_total_nano()
    arguments = ("--budget", "0.0001", "--limit", "30", "--job", "capped", "--json")
    said = tierwise(shop, "run", "env.yaml", *arguments, code=3).json()
    # Then the rest is deferred, over the spec's allowance
    assert said["exit_code"] == 3
    assert said["cap_usd"] == "0.000100000"
    assert sum(said["statuses"].values()) == 30
    assert said["statuses"]["deferred"] > 0
    assert upstream.meter_total_nano() - billed <= 100_000
    # And a spec that allows it is done
    spec = (shop.folder / "env.yaml").read_text().replace("budget:\n", "budget:\n  allow: {deferred: 1}\n")
    (shop.folder / "allowed.yaml").write_text(spec)
    assert tierwise(shop, "run", "allowed.yaml", *arguments[:4], "--json").json()["statuses"]["deferred"] > 0


def test_schema_is_json_schema_and_takes_the_spec(shop: Tierwise) -> None:
    import yaml

    schema = tierwise(shop, "schema").json()
    Draft202012Validator.check_schema(schema)
    spec = yaml.safe_load((shop.folder / "env.yaml").read_text())
    validator = Draft202012Validator(schema)
    assert list(validator.iter_errors(spec)) == []
    assert list(validator.iter_errors({**spec, "tiers": []}))
    assert list(validator.iter_errors({**spec, "teirs": []}))


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("report",), ("resume",), ("cancel",), ("why", "q"), ("status", "--watch")],
    ids=" ".join,
)
@pytest.mark.parametrize("job", ["nobody", "../x", "../lake/env", "env/../env", "", "env' OR '1'='1"])
def test_a_job_that_is_not_there(
    shop: Tierwise, finished: dict[str, Any], arguments: tuple[str, ...], job: str
) -> None:
    command, *rest = arguments
    said = tierwise(shop, command, job, *rest, code=2)
    assert said.out == ""
    assert "Fix:" in said.err


@pytest.mark.parametrize("job", ["../x", "/tmp/x", "a/b", ".hidden", "_schema", "a b", "x" * 101, "a\n"])
def test_a_job_id_cannot_leave_the_lake(shop: Tierwise, upstream: Upstream, job: str) -> None:
    before = set(shop.folder.rglob("*.json"))
    billed = upstream.stats().metered
    said = tierwise(shop, "run", "env.yaml", "--job", job, "--json", code=2).json()
    assert "no job id" in said["problems"][0]["message"]
    assert set(shop.folder.rglob("*.json")) == before
    assert upstream.stats().metered == billed


def test_a_job_id_is_used_once(shop: Tierwise, finished: dict[str, Any], upstream: Upstream) -> None:
    before = shop.rows("SELECT * FROM results WHERE job = 'env' ORDER BY query_id")
    billed = upstream.stats().metered
    said = tierwise(shop, "run", "env.yaml", "--job", "env", "--json", code=2).json()
    assert said["error"] == "JobExists"
    assert "`tierwise resume env`" in said["fix"]
    assert upstream.stats().metered == billed
    assert shop.rows("SELECT * FROM results WHERE job = 'env' ORDER BY query_id") == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("estimate", "env.yaml"), 0),
        (("status",), 0),
        (("status", "env"), 0),
        (("status", "env", "--watch"), 0),
        (("report", "env"), 0),
        (("report", "env", "-o", "again.html"), 0),
        (("why", "env", "no-such-query"), 2),
        (("query", "SELECT 1"), 0),
        (("resume", "env"), 0),
        (("cancel", "env"), 0),
        (("doctor",), 0),
        (("doctor", "--views"), 0),
        (("submit", "env.yaml"), 5),
        (("run", "nowhere.yaml"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_json_is_one_document_and_nothing_else(
    shop: Tierwise, finished: dict[str, Any], arguments: tuple[str, ...], code: int
) -> None:
    said = tierwise(shop, *arguments, "--json", code=code)
    assert isinstance(said.json(), dict | list)
    assert said.err == ""


def test_the_command_itself(shop: Tierwise, finished: dict[str, Any]) -> None:
    """In a process of its own, as a scheduler starts it."""
    assert shop.json("report", "env")["queries"] == ROWS
    assert shop.json("status", "nobody", code=2)["error"] == "UnknownJob"

"""Tiers in this process at full size, and every kind of task at a small one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.data import data_file
from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise

PRICE = {"input": "1", "output": "4"}


class Scripted:
    """An OpenAI-compatible endpoint that keeps what it was sent and replies by the document."""

    def __init__(self, replies: dict[str, str], otherwise: str) -> None:
        self.replies, self.otherwise = replies, otherwise
        self.bodies: list[dict[str, Any]] = []
        self.url = ""

    def documents(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.bodies]

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        self.bodies.append(body)
        text = self.replies.get(body["messages"][-1]["content"], self.otherwise)
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}

    def tier(self, name: str = "model", **more: Any) -> dict[str, Any]:
        return {
            "name": name, "provider": "openai", "model": "scripted", "base_url": self.url, "api_key_env": None,
            "price": PRICE, **more,
        }  # fmt: skip


@contextmanager
def scripted(replies: dict[str, str] | None = None, otherwise: str = "?") -> Iterator[Scripted]:
    endpoint = Scripted(replies or {}, otherwise)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = json.dumps(endpoint.reply(body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Tierwise:
    """One place for the small jobs."""
    return Tierwise(folder=tmp_path_factory.mktemp("small"))


def run(place: Tierwise, name: str, rows: list[dict[str, str]], code: int = 0, **spec: Any) -> dict[str, Any]:
    """Run a job over rows; its results by query id."""
    documents = place.folder / f"{name}.jsonl"
    documents.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    gold = "gold" if any("gold" in row for row in rows) else None
    whole = {
        "name": name,
        "input": {"path": documents.name, "id": "id", "gold": gold},
        "budget": {"usd": "0.1"},
        **spec,
    }
    tierwise(place, "run", write_spec(place, whole), "--job", name, code=code)
    found = place.rows(f"SELECT * FROM results WHERE job = '{name}'")
    assert len(found) == len(rows)
    return {row["query_id"]: row for row in found}


@pytest.mark.timeout(240)
def test_banking77_in_this_process(tmp_path: Path) -> None:
    # Given 13,083 customer questions in 77 classes; the training rows for the classifier lie in a file
    place = Tierwise(folder=tmp_path)
    table = pq.read_table(data_file("corpus_banking77.parquet"))
    numbered = table.append_column("id", pa.array([f"q{row}" for row in range(table.num_rows)]))
    pq.write_table(numbered, tmp_path / "questions.parquet")
    pq.write_table(table.filter(pc.equal(table["split"], "train")), tmp_path / "train.parquet")
    spec = {
        "name": "banking",
        "task": {"kind": "classify", "labels": sorted(set(table["label"].to_pylist()))},
        "input": {"path": "questions.parquet", "id": "id", "gold": "label", "batch": {"rows": 2000}},
        "tiers": [
            {"name": "similar", "provider": "similarity", "accept": 0.97},
            {"name": "trained", "provider": "sklearn", "train": "train.parquet"},
        ],
        "budget": {"usd": 0},
    }
    # When a label's own words are tried first, and then the classifier
    said = tierwise(place, "run", write_spec(place, spec), "--job", "banking", "--json").json()
    # Then every one of them is answered, for nothing
    assert said["statuses"] == {"answered": 13_083}
    assert said["cost_usd"] == "0.000000000"
    assert [tier["tier"] for tier in said["tiers"]] == ["similar", "trained"]
    assert place.money("banking").spent == 0
    # And the questions it was not trained on are answered well
    by_split = {
        row["split"]: row
        for row in place.rows(
            "SELECT d.fields->>'$.split' AS split, count(*) AS queries, avg((r.answer = d.gold)::INT) AS accuracy "
            "FROM results r JOIN documents d USING (job, query_id) GROUP BY ALL"
        )
    }
    print(f"accuracy {by_split['test']['accuracy']:.4f} on test in {said['seconds']:.1f} s")
    assert by_split["test"]["queries"] == 3080
    assert by_split["test"]["accuracy"] > 0.85
    assert by_split["train"]["accuracy"] > by_split["test"]["accuracy"]


def test_many_labels(small: Tierwise) -> None:
    rows = [
        {
            "id": "both",
            "text": "the parcel is late and I was charged twice",
            "gold": '["billing", "shipping"]',
        },
        {"id": "none", "text": "hello there", "gold": '["other"]'},
        {"id": "asked", "text": "zzz", "gold": '["shipping", "billing"]'},
    ]
    keywords = {"billing": ["charged"], "shipping": ["parcel"]}
    with scripted(
        {"zzz": '{"labels": ["shipping", "billing"]}', "hello there": '{"labels": []}'}
    ) as endpoint:
        found = run(
            small,
            "many",
            rows,
            task={
                "kind": "classify",
                "mode": "multi",
                "labels": ["billing", "shipping", "other"],
                "abstain": "other",
            },
            tiers=[
                {"name": "words", "provider": "keyword", "keywords": keywords, "accept": 0.5},
                endpoint.tier(),
            ],
        )
    assert {name: (json.loads(row["answer"]), row["tier"]) for name, row in found.items()} == {
        "both": (["billing", "shipping"], "words"),
        "none": (["other"], "model"),
        "asked": (["billing", "shipping"], "model"),
    }


def test_labels_as_paths(small: Tierwise) -> None:
    rows = [
        {"id": "whole", "text": "a"},
        {"id": "leaf", "text": "b"},
        {"id": "twice", "text": "c"},
    ]
    with scripted({"a": "money/refund", "b": "tracking", "c": "late"}) as endpoint:
        found = run(
            small,
            "paths",
            rows,
            code=3,
            task={
                "kind": "classify",
                "mode": "hierarchical",
                "labels": ["money/refund", "money/late", "goods/tracking", "goods/late"],
            },
            tiers=[endpoint.tier(structured="none")],
        )
    assert {name: row["answer"] for name, row in found.items()} == {
        "whole": "money/refund",
        "leaf": "goods/tracking",
        "twice": None,  # two paths end so
    }
    assert found["twice"]["status"] == "failed"


def test_extract(small: Tierwise) -> None:
    # Given a schema, a first tier that leaves a field out and a second that follows it
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "amount": {"type": "number"}},
        "required": ["name", "amount"],
    }
    whole = {"name": "Ünal", "amount": 12.5}
    rows = [{"id": "1", "text": "Ünal paid 12.50", "gold": json.dumps(whole)}]
    with scripted(otherwise='{"name": "Ünal"}') as partial, scripted(otherwise=json.dumps(whole)) as full:
        found = run(
            small,
            "extract",
            rows,
            task={"kind": "extract", "schema": schema},
            tiers=[partial.tier("partial", accept=0.5), full.tier("full")],
        )
    # Then the second one's object is the answer, and both were sent the schema
    assert json.loads(found["1"]["answer"]) == whole
    assert found["1"]["tiers_asked"] == ["partial", "full"]
    refused = small.rows("SELECT reason FROM decisions WHERE job = 'extract' AND tier = 'partial'")[0][
        "reason"
    ]
    assert "does not follow the schema" in refused
    assert partial.bodies[0]["response_format"]["json_schema"]["schema"] == schema
    assert found["1"]["cost_usd"] * 10**9 == 2 * (50 * 1000 + 5 * 4000)


@pytest.mark.parametrize("kind", ["many", "extract"])
def test_gold_in_json_is_compared_by_what_it_says(small: Tierwise, kind: str) -> None:
    """Spaces, and the order of keys and of labels, make no other answer."""
    said = tierwise(small, "report", kind, "--json").json()
    assert said["correct"] == said["graded"] > 0


def test_answer_by_choice_and_freely(small: Tierwise) -> None:
    rows = [{"id": "1", "text": "Is it blue?"}]
    with scripted(otherwise='{"answer": "yes"}') as endpoint:
        chosen = run(
            small,
            "chosen",
            rows,
            task={"kind": "answer", "choices": ["Yes", "No"]},
            tiers=[endpoint.tier(accept=0.5)],
        )
    with scripted(otherwise="  Because of the light.\n") as endpoint:
        free = run(small, "free", rows, task={"kind": "answer"}, tiers=[endpoint.tier()])
    assert chosen["1"]["answer"] == "Yes"
    assert free["1"]["answer"] == "Because of the light."


SECRETS = ("ann@example.org", "DE89 3704 0044 0532 0130 00", "4111 1111 1111 1111", "+49 30 901820")


def test_masked_data_is_never_sent_nor_journalled(small: Tierwise) -> None:
    # Given a document with an address, two numbers of money and a phone's
    text = f"Write to {SECRETS[0]} or {SECRETS[0]}, IBAN {SECRETS[1]}, card {SECRETS[2]}, call {SECRETS[3]}."
    schema = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
    with scripted(otherwise='{"to": "[EMAIL_1]"}') as endpoint:
        found = run(
            small,
            "masked",
            [{"id": "1", "text": text}],
            task={"kind": "extract", "schema": schema, "mask": ["email", "iban", "card", "phone"]},
            tiers=[endpoint.tier()],
        )
        sent = json.dumps(endpoint.bodies)
    # Then the endpoint has seen none of them, the ledger neither, and the answer has the address again
    assert "[EMAIL_1] or [EMAIL_1]" in endpoint.documents()[0]
    assert not [secret for secret in SECRETS if secret in sent]
    assert json.loads(found["1"]["answer"]) == {"to": SECRETS[0]}
    ledger = b"".join(path.read_bytes() for path in (small.folder / "lake" / "_ledger").iterdir())
    assert b"[EMAIL_1]" in ledger
    assert not [secret for secret in SECRETS if secret.encode() in ledger]


def test_a_sensitive_category_never_reaches_a_remote_tier(small: Tierwise) -> None:
    # Given a category of health that only the tier in this process may see
    tree = {
        "categories": [
            {
                "name": "health",
                "sensitivity": "high",
                "allowed_tiers": ["words"],
                "rules": [{"keywords": ["diagnosis", "pregnant"]}],
            },
            {"name": "other", "rules": [{"keywords": ["invoice", "diagnosis"]}]},
        ]
    }
    rows = [
        {"id": "secret", "text": "my diagnosis is on the invoice"},
        {"id": "unsure", "text": "I am pregnant"},
        {"id": "plain", "text": "the other one"},
    ]
    with scripted(otherwise="leave") as endpoint:
        found = run(
            small,
            "sensitive",
            rows,
            code=3,
            task={"kind": "classify", "labels": ["leave", "invoice"]},
            tiers=[
                {"name": "words", "provider": "keyword", "keywords": {"invoice": ["invoice"]}},
                endpoint.tier(structured="none"),
            ],
            taxonomy={"tree": tree, "slow_tier": "model"},
        )
    # Then the endpoint, also as the judge of categories, has seen the plain one alone
    assert endpoint.documents()
    assert all(
        "diagnosis" not in json.dumps(body["messages"][-1])
        and "pregnant" not in json.dumps(body["messages"][-1])
        for body in endpoint.bodies
    )
    assert found["secret"]["answer"] == "invoice"
    assert found["secret"]["category"] == "health"
    assert found["unsure"]["status"] == "failed"
    assert found["unsure"]["tiers_asked"] == ["words"]
    assert (found["plain"]["answer"], found["plain"]["tier"]) == ("leave", "model")

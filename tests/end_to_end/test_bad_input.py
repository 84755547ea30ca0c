"""What bad input gets: every mistake at once before the first call, a row with its reason after it."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.providers.openai import OpenAIProvider
from pipeline.storage.memory import MemoryStorage
from schemas.records import Request
from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise
from tests.s3server.server import CREDENTIALS, start_s3_server
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import UpstreamConfig

PRICE = {"input": "1", "output": "4"}
MODELS = ("sound", "astray", "sure")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """`astray` says "zzz", which is no label of the tasks here; the others say what the text declares."""
    config = UpstreamConfig(
        rule="echo-label",
        labels=("billing", "zzz"),
        accuracy={"sound": 1.0, "astray": 0.0, "sure": 1.0},
        prices=dict.fromkeys(MODELS, PRICE),
    )
    with start_upstream(config) as running:
        yield running


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Tierwise:
    """One place for the jobs of this file."""
    return Tierwise(folder=tmp_path_factory.mktemp("bad-input"))


def tier(upstream: Upstream, model: str, **more: Any) -> dict[str, Any]:
    return {
        "name": model, "provider": "openai", "model": model, "base_url": upstream.url, "api_key_env": None,
        "price": PRICE, "structured": "none", **more,
    }  # fmt: skip


def spec_of(place: Tierwise, upstream: Upstream, **changes: Any) -> str:
    """A spec that holds, over one document, with some of it replaced."""
    (place.folder / "one.csv").write_text("id,text\n1,About an invoice. [gold=billing]\n")
    spec = {
        "name": "job",
        "task": {"kind": "classify", "labels": ["billing", "refund"]},
        "input": {"path": "one.csv", "id": "id"},
        "tiers": [tier(upstream, "sound")],
        "budget": {"usd": 1},
        "history": "none",  # the jobs of this lake ask the same
    }
    return write_spec(place, {**spec, **changes})


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


FIVE_MISTAKES = """\
name: not a name
task:
  kind: clasify
  labels: [billing, refund]
input:
  txt: body
  path: one.csv
tiers:
  - {name: sound, provider: openai, model: sound, base_url: "URL", structured: xml}
budget: {allow: {}}
"""
PLACES = {  # path -> line, a word of the fix
    "name": (1, "match"),
    "task.kind": (3, "classify"),
    "input.txt": (6, "text"),
    "tiers[0].structured": (9, "json_schema"),
    "budget.usd": (10, "Add `usd"),
}


def test_every_mistake_of_a_spec_is_said_at_once_and_nothing_is_sent(
    lake: Tierwise, upstream: Upstream
) -> None:
    # Given a spec with five mistakes
    path = lake.folder / "five.yaml"
    path.write_text(FIVE_MISTAKES.replace("URL", upstream.url))
    metered = upstream.stats().metered
    # When it is run, for a person and for a machine
    printed = tierwise(lake, "run", str(path), code=2)
    said = lake.json("run", str(path), code=2)
    # Then all five are named, each with its line and its fix
    assert printed.out == ""
    assert "5 problem(s)" in printed.err
    assert {problem["path"]: problem["line"] for problem in said["problems"]} == {
        place: line for place, (line, _) in PLACES.items()
    }
    for problem in said["problems"]:
        assert PLACES[problem["path"]][1] in problem["fix"]
        assert f"{problem['path']} (line {problem['line']}): {problem['message']}" in printed.err
        assert f"Fix: {problem['fix']}" in printed.err
    # And no call was made
    assert upstream.stats().metered == metered


def test_what_only_the_outside_can_tell_is_collected_too(lake: Tierwise, upstream: Upstream) -> None:
    # Given a spec whose form is right, with a key that is not set, a model without a price, a column, a
    # taxonomy and a keyword file that are not there
    spec = spec_of(
        lake,
        upstream,
        tiers=[
            tier(upstream, "sound", api_key_env="NO_SUCH_KEY"),
            tier(upstream, "astray", price=None),
            {"name": "words", "provider": "keyword", "keywords": "words.yaml"},
        ],
        input={"path": "one.csv", "id": "id", "text": "body"},
        taxonomy="tree.yaml",
    )
    # When it is run
    said = tierwise(lake, "run", spec, "--json", code=2).json()
    # Then each is named with its way out
    problems = {problem["path"]: problem for problem in said["problems"]}
    assert set(problems) == {"tiers[0]", "tiers[1]", "tiers[2].keywords", "input", "taxonomy"}
    assert "NO_SUCH_KEY" in problems["tiers[0]"]["message"]
    assert "export NO_SUCH_KEY=" in problems["tiers[0]"]["fix"]
    assert "'astray'" in problems["tiers[1]"]["message"]
    assert "price" in problems["tiers[1]"]["fix"]
    assert "'body'" in problems["input"]["message"]
    assert problems["input"]["fix"] == "Columns: id, text."
    assert "No such file" in problems["tiers[2].keywords"]["message"]
    assert "No such file" in problems["taxonomy"]["message"]
    assert all(problem["fix"] for problem in said["problems"])


def test_training_labels_that_the_task_does_not_have_are_refused(lake: Tierwise, upstream: Upstream) -> None:
    (lake.folder / "train.csv").write_text("text,label\npay me,billing\nmy parcel,shipping\nbye,Refund\n")
    trained = {"name": "trained", "provider": "sklearn", "train": "train.csv"}
    said = tierwise(lake, "run", spec_of(lake, upstream, tiers=[trained]), "--json", code=2).json()
    assert [problem["path"] for problem in said["problems"]] == ["tiers[0]"]
    assert "unknown labels: shipping." in said["problems"][0]["message"]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("none.yaml", None, "No such file"),
        ("latin.yaml", "name: café\n".encode("latin-1"), "not UTF-8"),
        ("list.yaml", b"- a\n- b\n", "holds no mapping"),
        ("tabs.yaml", b"name: a\n\ttask: b\n", "is not YAML"),
    ],
)
def test_a_file_that_is_no_spec(lake: Tierwise, name: str, content: bytes | None, why: str) -> None:
    if content is not None:
        (lake.folder / name).write_bytes(content)
    said = tierwise(lake, "run", name, code=2)
    assert why in said.err
    assert "Fix:" in said.err


@pytest.mark.parametrize("files", [{"one.csv": None}, {"one.csv": b""}, {"one.csv": b"id,text\n"}])
def test_an_input_without_a_row(tmp_path: Path, upstream: Upstream, files: dict[str, bytes | None]) -> None:
    place = Tierwise(folder=tmp_path)
    spec = spec_of(place, upstream)
    for name, content in files.items():
        (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    assert "one.csv cannot be read" in tierwise(place, "run", spec, code=2).err
    assert tierwise(place, "status", "--json").json() == []


@pytest.mark.parametrize("amount", ["abc", "NaN", "-1", "inf", "0.0000000001"])
def test_a_budget_that_is_no_amount(lake: Tierwise, upstream: Upstream, amount: str) -> None:
    said = tierwise(lake, "run", spec_of(lake, upstream), "--budget", amount, "--job", "never", code=2)
    assert "--budget" in said.err
    assert tierwise(lake, "status", "never", code=2).out == ""


def test_settings_that_cannot_be_read(place: Tierwise) -> None:
    (place.folder / "tierwise.toml").write_text("lake = [\n")
    assert "tierwise.toml" in tierwise(place, "status", code=2).err
    (place.folder / "tierwise.toml").write_text('laek = "here"\n')
    assert "laek" in tierwise(place, "status", code=2).err


def test_a_broker_out_of_reach(lake: Tierwise, upstream: Upstream) -> None:
    # Given a broker that is not there
    url = f"amqp://guest:top-secret@127.0.0.1:{closed_port()}//"
    place = Tierwise(folder=lake.folder, settings={"TIERWISE_BROKER": url})
    # When a job is submitted
    said = tierwise(place, "submit", spec_of(lake, upstream), "--job", "unsent", "--json", code=5)
    # Then the fix is named, the password is not, and there is no job
    assert said.json()["error"] == "BrokerUnreachable"
    assert "TIERWISE_BROKER" in said.json()["fix"]
    assert "`tierwise run` needs no broker" in said.json()["fix"]
    assert "top-secret" not in said.out + said.err
    tierwise(lake, "status", "unsent", code=2)


def test_no_broker_at_all(lake: Tierwise, upstream: Upstream) -> None:
    assert "TIERWISE_BROKER" in tierwise(lake, "submit", spec_of(lake, upstream), code=5).err


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_ledger_out_of_reach(lake: Tierwise, upstream: Upstream, form: tuple[str, ...]) -> None:
    url = f"postgresql://teller:top-secret@127.0.0.1:{closed_port()}/money"
    place = Tierwise(folder=lake.folder, settings={"TIERWISE_LEDGER": url})
    metered = upstream.stats().metered
    said = tierwise(place, "run", spec_of(lake, upstream), *form, code=5)
    assert "TIERWISE_LEDGER" in said.out + said.err
    assert "127.0.0.1" in said.out + said.err
    assert "top-secret" not in said.out + said.err
    assert upstream.stats().metered == metered


def test_a_lake_that_cannot_be_written(lake: Tierwise, upstream: Upstream) -> None:
    (lake.folder / "occupied").write_text("a file where the folder should be")
    place = Tierwise(folder=lake.folder, settings={"TIERWISE_LAKE": str(lake.folder / "occupied" / "lake")})
    metered = upstream.stats().metered
    said = tierwise(place, "run", spec_of(lake, upstream), "--json", code=5).json()
    assert said["error"] == "LakeUnreachable"
    assert "TIERWISE_LAKE" in said["fix"]
    assert upstream.stats().metered == metered


def test_a_lake_that_is_lost_while_the_job_runs(place: Tierwise, upstream: Upstream) -> None:
    # Given a job, and a lake whose folder for parts turns into a file after the job was made
    spec = spec_of(place, upstream)
    tierwise(place, "status")
    live = place.folder / "lake" / "_live" / "results" / "job=lost"
    live.write_text("in the way")
    # When it runs
    said = tierwise(place, "run", spec, "--job", "lost", "--json", code=5).json()
    # Then that is said in a sentence, and once it is put right the job goes on without a second payment
    assert said["error"] == "LakeUnreachable"
    live.unlink()
    billed = upstream.stats().metered
    assert tierwise(place, "resume", "lost", "--json").json()["statuses"] == {"answered": 1}
    assert upstream.stats().metered == billed


def test_a_bucket_that_is_missing(lake: Tierwise, upstream: Upstream) -> None:
    with start_s3_server() as server:
        uri = f"s3://nowhere?endpoint_url={server.url}&region=us-east-1"
        settings = {**CREDENTIALS, "TIERWISE_LAKE": uri}
        place = Tierwise(folder=lake.folder, settings=settings)
        said = tierwise(place, "run", spec_of(lake, upstream), code=5).err
    assert "there is no bucket 'nowhere'" in said
    assert "aws s3 mb s3://nowhere" in said
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in said


class Overwriting(MemoryStorage):
    """A store that takes a conditional PUT for a plain one."""

    async def create(self, key: str, data: bytes) -> bool:
        await self.write(key, data)
        return True


def test_a_store_that_ignores_conditional_writes_is_refused(
    lake: Tierwise, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.wiring.services.open_storage", lambda uri: Overwriting())
    metered = upstream.stats().metered
    said = tierwise(lake, "run", spec_of(lake, upstream), "--json", code=5).json()
    assert said["error"] == "UnconditionalStore"
    assert "If-None-Match" in said["fix"]
    monkeypatch.setattr("jobs.doctor.open_storage", lambda uri: Overwriting())
    assert "FAILED   lake: The store" in tierwise(lake, "doctor", code=5).out
    assert upstream.stats().metered == metered


POISONED = (
    b"id,text\n"
    b"good-1,One. [gold=billing]\n"
    b"blank,   \n"
    b"good-1,Two under an id that is taken. [gold=billing]\n"
    b"latin,caf\xe9 [gold=billing]\n"
    b"cells,three,cells\n"
    b"long," + b"word " * 2000 + b"\n"
    b"raising,boom [gold=billing]\n"
    b"good-2,Three. [gold=billing]\n"
)
ENDED = {
    "good-1": ("answered", ""),
    "good-2": ("answered", ""),
    "blank": ("rejected", "empty text"),
    "good-1#row-3": ("rejected", "duplicate id 'good-1', first in row 1"),
    "latin": ("rejected", "not UTF-8"),
    "row-5": ("rejected", "3 cells, the header has 2"),
    "long": ("rejected", "too long for every allowed tier"),
    "raising": ("failed", "RuntimeError: boom"),
}


@pytest.fixture(scope="module")
def poisoned(lake: Tierwise, upstream: Upstream) -> dict[str, Any]:
    """The same batch twice: without allowance, and with just enough. What `run` said of each."""
    encode = OpenAIProvider.encode

    def raising(provider: OpenAIProvider, request: Request) -> bytes:
        if "boom" in request.user:
            raise RuntimeError("boom")
        return encode(provider, request)

    (lake.folder / "poisoned.csv").write_bytes(POISONED)
    said = {}
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(OpenAIProvider, "encode", raising)
        for name, allow, code in (("strict", {}, 3), ("allowed", {"rejected": 0.625, "failed": 0.125}, 0)):
            spec = spec_of(
                lake,
                upstream,
                name=name,
                input={"path": "poisoned.csv", "id": "id"},
                tiers=[tier(upstream, model, context_tokens=1000) for model in ("sound", "sure")],
                budget={"usd": 1, "allow": allow},
            )
            before = upstream.stats().metered
            said[name] = tierwise(lake, "run", spec, "--job", name, "--json", code=code).json()
            said[name]["metered"] = upstream.stats().metered - before
    return said


def test_a_bad_row_costs_nothing_and_stops_nothing(lake: Tierwise, poisoned: dict[str, Any]) -> None:
    # Given a batch with an empty text, a taken id, bytes that are no UTF-8, a cell too many, a document no
    # tier can read, and one that makes a tier raise; when it has run, then each has its reason
    rows = lake.rows("SELECT query_id, status, reason, cost_usd, answer FROM results WHERE job = 'strict'")
    assert {row["query_id"] for row in rows} == set(ENDED)
    for row in rows:
        status, reason = ENDED[row["query_id"]]
        assert row["status"] == status, row
        assert reason in row["reason"]
        assert (row["cost_usd"] > 0) == (status == "answered")
        assert row["answer"] == ("billing" if status == "answered" else None)
    # And only the others were sent
    assert poisoned["strict"]["metered"] == 2


def test_exit_code_3_unless_the_spec_allows_it(poisoned: dict[str, Any]) -> None:
    for said in poisoned.values():
        assert said["statuses"] == {"rejected": 5, "answered": 2, "failed": 1}
    assert poisoned["strict"]["exit_code"] == 3
    assert poisoned["allowed"]["exit_code"] == 0


USELESS = {  # what the first tier replies -> outcome of the call, why it is not believed
    "malformed_json": ("malformed", "malformed reply"),
    "malformed_content": ("ok", "outside the label set"),
    "truncated": ("truncated", "truncated"),
    "refusal": ("refused", "refused"),
    "content_filter": ("refused", "refused"),
    "astray": ("ok", "outside the label set: 'zzz'"),
}


@pytest.mark.parametrize("kind", USELESS)
def test_a_useless_reply_is_paid_for_and_escalates(lake: Tierwise, upstream: Upstream, kind: str) -> None:
    # Given a first tier whose reply is of no use
    first = "astray" if kind == "astray" else "sound"
    spec = spec_of(lake, upstream, tiers=[tier(upstream, first, accept=0.5), tier(upstream, "sure")])
    upstream.control(script=[] if kind == "astray" else [kind, "ok"])
    before = upstream.meter_total_nano()
    job = f"reply-{kind}".replace("_", "-")
    # When the job runs
    tierwise(lake, "run", spec, "--job", job)
    # Then the next tier is asked, and its answer stands
    result = lake.rows(f"SELECT * FROM results WHERE job = '{job}'")[0]
    assert (result["status"], result["answer"], result["tier"]) == ("answered", "billing", "sure")
    assert result["tiers_asked"] == [first, "sure"]
    # And the reason is recorded
    outcome, reason = USELESS[kind]
    decisions = lake.rows(f"SELECT * FROM decisions WHERE job = '{job}' ORDER BY position")
    assert [step["accepted"] for step in decisions] == [False, True]
    assert decisions[0]["reason"].startswith(reason)
    assert decisions[0]["answer"] is None
    # And both calls are settled at what they cost: a reply without a legible usage at what was held for it
    calls = lake.rows(f"SELECT * FROM calls WHERE job = '{job}' ORDER BY tier = 'sure'")
    assert [call["outcome"] for call in calls] == [outcome, "ok"]
    account = lake.money(job)
    assert (account.held, account.presumed) == (0, 0)
    assert sum(call["cost_usd"] for call in calls) * 10**9 == account.spent
    billed = upstream.meter_total_nano() - before
    if kind == "malformed_json":
        assert calls[0]["cost_usd"] == calls[0]["held_usd"]
        assert account.spent > billed
    else:
        assert account.spent == billed


def test_an_answer_that_no_tier_can_give_is_a_failed_row(lake: Tierwise, upstream: Upstream) -> None:
    spec = spec_of(lake, upstream, tiers=[tier(upstream, "astray")])
    said = json.loads(tierwise(lake, "run", spec, "--job", "no-answer", "--json", code=3).out)
    assert said["statuses"] == {"failed": 1}
    row = lake.rows("SELECT * FROM results WHERE job = 'no-answer'")[0]
    assert row["answer"] is None
    assert "outside the label set: 'zzz'" in row["reason"]
    assert row["cost_usd"] > 0

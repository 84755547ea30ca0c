"""What submit says of a policy before anything is spent."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.submit.spec import prepare
from schemas.errors import SpecError
from tests.faults.desk import job_spec, tier

ENDPOINT = {"provider": "openai", "model": "e", "price": {"input": "0.02"}}


@pytest.mark.parametrize(
    ("policy", "path", "message"),
    [
        ("thomson", "policy", "'thomson' is not known"),
        ({"name": "thompson", "alpha": 1.0}, "policy.alpha", "thompson has none"),
        (
            {"name": "linucb", "encoder": "minilm"},
            "policy.encoder",
            "minilm needs a package that is not installed",
        ),
        ({"name": "fixed-ladder", "encoder": ENDPOINT}, "policy.encoder", "fixed-ladder sees no text"),
    ],
)
async def test_a_policy_that_cannot_run_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, policy: Any, path: str, message: str
) -> None:
    monkeypatch.setattr("pipeline.submit.checks.find_spec", lambda name: None)
    (tmp_path / "documents.csv").write_text("text\none\n")
    with pytest.raises(SpecError) as caught:
        await prepare(job_spec(1, policy=policy), tmp_path, "job.yaml", for_calls=False)
    assert (path, message) in [(each.path, each.message) for each in caught.value.problems]


STUDENT = {"name": "s", "provider": "student"}
TREE = {"categories": [{"name": "red", "description": "red"}, {"name": "blue", "description": "blue"}]}
TARGET = {"target": 0.9, "reference": "t1"}
EXAMPLES = {"kind": "answer", "instructions": "Say why."}


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"quality": TARGET, "policy": "thompson"}, "policy", "thompson would leave the certified plan"),
        ({"quality": TARGET | {"reference": "t7"}}, "quality.reference", "there is no tier 't7'"),
        (
            {"quality": TARGET | {"reference": "t0"}},
            "quality.reference",
            "is the first tier: no plan is cheaper than the reference itself",
        ),
        ({"quality": {"target": 0.9}}, "quality.reference", "the input names no gold column"),
        (
            {"quality": TARGET, "tiers": 3, "taxonomy": {"tree": TREE, "slow_tier": "t2"}},
            "taxonomy.slow_tier",
            "t2 is above the reference and not asked under `quality`",
        ),
        (
            {"quality": TARGET | {"reference": "s"}, "tiers": [tier(0), tier(1), STUDENT]},
            "quality.reference",
            "a student repeats what it was taught",
        ),
        (
            {"quality": TARGET, "task": EXAMPLES},
            "quality.judge",
            "free text agrees with nothing word for word",
        ),
        (
            {"quality": {"reference": "human"}},
            "quality.target",
            "people label the drawn rows for a certificate, after the job",
        ),
        (
            {"quality": TARGET, "history": {"near_duplicates": 0.9}},
            "history.near_duplicates",
            "a copied answer is not given under the certified plan",
        ),
    ],
)
async def test_what_cannot_be_certified_is_refused(
    tmp_path: Path, changes: dict[str, Any], path: str, message: str
) -> None:
    (tmp_path / "documents.csv").write_text("text\none\n")
    with pytest.raises(SpecError) as caught:
        await prepare(job_spec(**{"tiers": 2, **changes}), tmp_path, "job.yaml", for_calls=False)
    assert (path, message) in [(each.path, each.message) for each in caught.value.problems]
    about = [each for each in caught.value.problems if not each.path.startswith("tiers")]
    assert len(about) == 1


async def test_people_are_no_tier(tmp_path: Path) -> None:
    (tmp_path / "documents.csv").write_text("text\none\n")
    spec = job_spec([tier(0), tier(1) | {"name": "human"}], quality={"target": 0.9, "reference": "human"})
    with pytest.raises(SpecError) as caught:
        await prepare(spec, tmp_path, "job.yaml", for_calls=False)
    [problem] = caught.value.problems
    assert (problem.path, problem.fix) == ("quality.reference", "Rename the tier.")


def test_no_plan_can_reach_a_target_and_its_allowance_of_one() -> None:
    with pytest.raises(ValueError, match=r"target \+ off_plan is 1\.05; no plan reaches 1 or more"):
        job_spec(2, quality=TARGET | {"off_plan": 0.15})


async def said_of(folder: Path, encoder: Any, **changes: Any) -> list[tuple[str, str]]:
    (folder / "documents.csv").write_text("text\none\n")
    spec = job_spec(changes.pop("tiers", 1), policy={"name": "thompson", "encoder": encoder}, **changes)
    with pytest.raises(SpecError) as caught:
        await prepare(spec, folder, "job.yaml")
    return [(each.path, each.message) for each in caught.value.problems]


async def test_an_endpoint_is_priced_and_its_key_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("EMBED_KEY", raising=False)
    local = {**ENDPOINT, "base_url": "http://127.0.0.1:1/v1"}
    [(path, message)] = await said_of(tmp_path, {**local, "api_key_env": "EMBED_KEY"})
    assert path == "policy.encoder"
    assert "EMBED_KEY" in message
    [(path, message)] = await said_of(tmp_path, {**local, "price": None, "api_key_env": None})
    assert path == "policy.encoder"
    assert "list price" in message


async def test_no_tier_has_the_endpoints_name(tmp_path: Path) -> None:
    local = {**ENDPOINT, "base_url": "http://127.0.0.1:1/v1", "api_key_env": None}
    [(path, message)] = await said_of(tmp_path, local, tiers=[tier(0, name="encoder")])
    assert (path, message) == (
        "policy.encoder",
        "a tier has the name that the encoder's endpoint goes by, 'encoder'",
    )

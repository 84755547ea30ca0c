"""What is played on the stage: jobs whose calls cost $0.10 each, under a cap that pays some of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.end_to_end.conftest import write_spec
from tests.faults.stage import LABELS, THREADS, Stage
from tests.jobs import write_documents

CALL = 10**8  # nano-dollars a call costs: $0.10
TOKENS = 2  # of a reply
FREE = {"free": {"input": "0", "output": "0"}}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    name: str
    queries: int = 1000  # of all its jobs together
    calls: int = 50  # that the cap pays, at their true cost
    jobs: int = (
        1  # two or more spend from one account above them that has the cap; each alone could spend it all
    )
    holds: int = 1  # times its true cost that a call holds
    kills: int = 0
    pays_for: Literal["answer", "taxonomy"] = "answer"

    @property
    def cap(self) -> int:
        return self.calls * CALL

    @property
    def hold(self) -> int:
        return self.holds * CALL

    @property
    def slots(self) -> int:
        """Calls on the wire per worker and job: all at once, or few, so that there is time for kills and races."""
        return 1 if self.kills else 2 if self.jobs > 1 else 64

    @property
    def ids(self) -> list[str]:
        """Of its jobs; each has a model of its own, named as the job."""
        return [f"{self.name}-{index + 1}" for index in range(self.jobs)]

    @property
    def account(self) -> str:
        """The one that has the cap."""
        return f"team/{self.name}" if self.jobs > 1 else f"job/{self.ids[0]}"

    @property
    def price(self) -> dict[str, str]:
        if self.holds == 1:
            return {"input": "0", "output": "0", "request": "0.1"}
        return {"input": "0", "output": str(100_000 // TOKENS)}

    def short(self) -> "Scenario":
        """The same, smaller."""
        calls = self.calls if self.queries <= self.calls else 20
        return replace(self, queries=min(self.queries, 160), calls=calls, kills=min(self.kills, 2))


SCENARIOS = (
    Scenario(name="hold-is-cost"),
    Scenario(name="hold-6x", holds=6),
    Scenario(name="hold-6x-fits", holds=6, queries=45),
    Scenario(name="two-jobs", jobs=2),
    Scenario(name="taxonomy", pays_for="taxonomy"),
    Scenario(name="hold-is-cost-kills", kills=10),
    Scenario(name="hold-6x-kills", holds=6, kills=4),
    Scenario(name="two-jobs-kills", jobs=2, kills=10),
)
PRICES = {job: scenario.price for scenario in SCENARIOS for job in scenario.ids} | FREE


def write_specs(on: Stage, scenario: Scenario) -> list[str]:
    return [write_spec(on.place, spec) for spec in _specs(on, scenario)]


def _specs(on: Stage, scenario: Scenario) -> Iterator[dict[str, object]]:
    each = scenario.queries // scenario.jobs
    budget: dict[str, Any] = {"usd": scenario.cap / 10**9}
    if scenario.jobs > 1:
        budget |= {"account": scenario.account, "account_usd": budget["usd"]}
    for job in scenario.ids:
        texts = [f"{job}: message {number} [gold={LABELS[number % 2]}]" for number in range(each)]
        yield {
            "name": job,
            "task": {"kind": "classify", "instructions": "Classify.", "labels": list(LABELS)},
            "input": {
                "path": str(write_documents(on.place.folder / f"{job}.parquet", texts)),
                "id": "id",
                "batch": {"rows": -(-scenario.queries // (on.processes * THREADS))},
            },
            "budget": budget,
            **_tiers(on, scenario, job),
        }


def _tiers(on: Stage, scenario: Scenario, job: str) -> dict[str, Any]:
    paid = {
        "name": "paid", "provider": "openai", "model": job, "base_url": on.upstream.url, "api_key_env": None,
        "price": scenario.price, "structured": "none", "logprobs": False, "accept": 0.0,
        "max_output_tokens": TOKENS * scenario.holds, "max_concurrency": scenario.slots,
    }  # fmt: skip
    if scenario.pays_for == "answer":
        return {"tiers": [paid]}
    categories = [{"name": label, "description": f"{label} words"} for label in LABELS]
    ask_all = {"tree": {"categories": categories}, "familiar_margin": 1.0, "slow_tier": "paid"}
    free = {**paid, "name": "free", "model": "free", "price": FREE["free"]}
    return {"tiers": [free, paid], "taxonomy": ask_all}

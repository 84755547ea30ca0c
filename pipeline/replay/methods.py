"""The methods a replay compares: each fits on outcomes and offers rules to choose from. A new one is one line here."""

from collections.abc import Callable, Sequence

from pipeline.replay.live import fit_live
from pipeline.router.choosing import Fitted, together
from pipeline.router.ladders import (
    fit_cascade,
    fit_escalation,
    fit_fusion,
    fit_singles,
    fit_three_model,
    fit_two_model,
)
from pipeline.router.learned import fit_learned
from pipeline.router.metallm import fit_metallm
from pipeline.router.observed import Observed
from pipeline.router.suitability import fit_suitability

Method = Callable[[Observed], Fitted]

BASELINES: dict[str, Method] = {
    "two-model": fit_two_model,
    "frugal-gpt": fit_three_model,
    "metallm-linucb": fit_metallm,
}
PARTS: dict[str, Method] = {
    "single": fit_singles,
    "taxonomy": fit_suitability,
    "learned": fit_learned,
    "cascade": fit_cascade,
    "escalation": fit_escalation,
    "fusion": fit_fusion,
}
ALL = "all"  # the policy Tierwise runs: whichever rule of these parts is cheapest at the target
OF_ALL = ("taxonomy", "learned", "cascade", "escalation")


def fit_methods(rows: Observed, live: Sequence[str] = ()) -> dict[str, Fitted]:
    """Every method by name, and these live policies."""
    fitted = {name: fit(rows) for name, fit in {**BASELINES, **PARTS}.items()}
    policies = {name: fit_live(name, rows) for name in live}
    return {**fitted, ALL: together([fitted[name] for name in OF_ALL]), **policies}

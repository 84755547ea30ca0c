"""Where a query stands: rules first, then likeness, then a model's word mixed in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.features.hashing import HashingEncoder
from pipeline.taxonomy.classify import Taxonomy
from pipeline.taxonomy.similarity import SHARPNESS
from pipeline.taxonomy.slow import read_category, slow_request
from pipeline.taxonomy.tree import ROOT, flatten
from schemas.ids import QueryId
from schemas.records import Completion, Query
from schemas.taxonomy import TaxonomySpec


class Axes:
    """A word is a direction: red, green, blue."""

    version, dimensions = "axes", 3

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.array(
            [[word in text for word in ("red", "green", "blue")] for text in texts], dtype=np.float32
        )
        rows = rows.reshape(-1, 3)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.maximum(lengths, 1e-9)).astype(np.float32)


TREE: dict[str, Any] = {
    "categories": [
        {
            "name": "warm",
            "allowed_tiers": ["s", "m"],
            "rules": [{"keywords": ["warm"]}],
            "children": [
                {
                    "name": "red",
                    "description": "red",
                    "rules": [{"keywords": ["ruby"]}],
                    "allowed_tiers": ["m", "l"],
                }
            ],
        },
        {"name": "green", "description": "green", "examples": ["green"], "rules": [{"keywords": ["leaf"]}]},
        {
            "name": "secret",
            "description": "blue",
            "sensitivity": "high",
            "allowed_tiers": ["s"],
            "rules": [{"keywords": ["card"]}],
            "children": [{"name": "deep", "rules": [{"keywords": ["iban"]}]}],
        },
        {"name": "vault", "sensitivity": "high", "allowed_tiers": ["s"], "rules": [{"keywords": ["pin"]}]},
    ]
}
PATHS = ["warm", "warm/red", "green", "secret", "secret/deep", "vault"]


def taxonomy(margin: float = 0.1, weight: float = 0.6, tree: dict[str, Any] = TREE) -> Taxonomy:
    spec = TaxonomySpec.model_validate(tree)
    return Taxonomy(spec, Axes(), familiar_margin=margin, slow_weight=weight)


def queries(*texts: str) -> list[Query]:
    return [Query(query_id=QueryId(str(row)), text=text) for row, text in enumerate(texts)]


def test_the_tree_is_flat_parents_first_with_what_is_inherited() -> None:
    nodes = flatten(TaxonomySpec.model_validate(TREE))

    assert [node.path for node in nodes] == PATHS
    allowed = [node.allowed_tiers for node in nodes]
    assert allowed == [{"s", "m"}, {"m"}, None, {"s"}, {"s"}, {"s"}]
    assert [node.sensitive for node in nodes] == [False, False, False, True, True, True]


@pytest.mark.parametrize(
    ("text", "category", "familiar"),
    [
        ("warm", "warm", True),
        ("warm ruby", "warm/red", True),
        ("warm leaf", "green", False),
        ("ruby leaf", "warm/red", False),
        ("ruby card", "secret", True),
        ("warm ruby leaf card iban", "secret/deep", True),
        ("card pin", "secret", False),
    ],
)
def test_rules_the_deepest_wins_and_a_sensitive_one_always(text: str, category: str, familiar: bool) -> None:
    (assignment,) = taxonomy().classify(queries(text))

    assert (assignment.category, assignment.source) == (category, "rule")
    assert assignment.familiar == familiar
    assert assignment.score == (1.0 if familiar else 0.5)


def test_among_equally_deep_rules_the_more_similar_wins() -> None:
    tree = {
        "categories": [
            {"name": name, "description": name, "rules": [{"keywords": ["x"]}]} for name in ("red", "green")
        ]
    }

    (assignment,) = taxonomy(tree=tree).classify(queries("x green"))

    assert (assignment.category, assignment.runner_up) == ("green", "red")


def test_likeness_decides_the_rest_by_a_softmax_over_cosines() -> None:
    (assignment,) = taxonomy().classify(queries("a green thing"))

    weights = np.exp(SHARPNESS * (np.array([-1, 0, 1, 0, -1, -1]) - 1.0))
    shares = weights / weights.sum()
    assert (assignment.category, assignment.source) == ("green", "fast")
    assert assignment.score == pytest.approx(shares[2], rel=1e-5)
    assert assignment.margin == pytest.approx(shares[2] - shares[1], rel=1e-5)
    assert assignment.runner_up == "warm/red"
    assert assignment.familiar


def test_familiar_is_clear_of_the_runner_up_by_the_margin() -> None:
    both = queries("red and green")

    (close,) = taxonomy(margin=0.1).classify(both)
    (anyway,) = taxonomy(margin=0.0).classify(both)

    assert close.margin == pytest.approx(0.0, abs=1e-6)
    assert not close.familiar
    assert anyway.familiar


def test_a_tree_of_rules_alone_leaves_the_rest_at_the_root() -> None:
    tree = {"categories": [{"name": "a", "rules": [{"keywords": ["x"]}]}]}

    assert taxonomy(tree=tree).classify(queries("nothing", "x"))[0] == ROOT
    assert taxonomy(tree=tree).classify([]) == []
    assert taxonomy().allowed(ROOT) is None


def test_the_slow_word_is_mixed_by_its_weight() -> None:
    sorter, texts = taxonomy(weight=0.6), queries("red and green", "green")
    assigned = sorter.classify(texts)
    fast = sorter._fast.probabilities(["red and green"])[0]

    joined = sorter.with_slow(texts, assigned, {0: (1, 0.8)})

    slow = np.full(6, 0.2 / 5)
    slow[1] = 0.8
    mixed = 0.6 * slow + 0.4 * fast
    assert joined[0].category == "warm/red"
    assert joined[0].source == "slow"
    assert joined[0].score == pytest.approx(mixed[1], rel=1e-5)
    assert mixed.sum() == pytest.approx(1.0, rel=1e-5)
    assert joined[1] is assigned[1]
    assert sorter.with_slow(texts, assigned, {}) == assigned


def test_a_slow_word_can_lose_to_likeness() -> None:
    sorter, texts = taxonomy(weight=0.1), queries("green")

    joined = sorter.with_slow(texts, sorter.classify(texts), {0: (1, 0.9)})

    assert joined[0].category == "green"


def test_no_model_talks_a_query_out_of_a_sensitive_rule() -> None:
    sorter, texts = taxonomy(weight=1.0), queries("card pin", "ruby leaf")
    assigned = sorter.classify(texts)
    assert not assigned[0].familiar

    joined = sorter.with_slow(texts, assigned, {0: (2, 0.99), 1: (2, 0.99)})

    assert joined[0] == assigned[0]
    assert sorter.allowed(joined[0]) == {"s"}
    assert joined[1].category == "green"


def test_the_hashing_encoder_fits_the_port() -> None:
    spec = TaxonomySpec.model_validate(TREE)
    sorter = Taxonomy(spec, HashingEncoder(), familiar_margin=0.1, slow_weight=0.6)

    (assignment,) = sorter.classify(queries("green"))

    assert (assignment.category, assignment.familiar) == ("green", True)


def said(text: str, confidence: float | None = None) -> Completion:
    return Completion(text=text, finish_reason="stop", confidence=confidence)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("green", 2),
        ("Warm/Red", 1),
        ('"green".', 2),
        ('{"category": "green"}', 2),
        ('{"category": "purple"}', None),
        ('{"kind": "green"}', None),
        ('{"category": ', None),
        ('{"category":' * 3000, None),
        ("", None),
        ("greenish", None),
    ],
)
def test_reading_a_category(text: str, index: int | None) -> None:
    nodes = flatten(TaxonomySpec.model_validate(TREE))

    assert read_category(nodes, said(text)) == (None if index is None else (index, 0.9))


def test_the_models_own_confidence_counts_also_when_it_is_none_at_all() -> None:
    nodes = flatten(TaxonomySpec.model_validate(TREE))

    assert read_category(nodes, said("green", 0.0)) == (2, 0.0)


def test_the_slow_question_keeps_the_document_apart() -> None:
    nodes = flatten(TaxonomySpec.model_validate(TREE))
    request = slow_request(nodes, queries("x")[0], "the document")

    assert request.user == "the document"
    assert "the document" not in request.system
    assert all(path in request.system for path in PATHS)
    assert request.labels == tuple(PATHS)

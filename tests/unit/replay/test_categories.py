from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.replay.categories import categorised
from pipeline.replay.outcomes import Outcomes
from schemas.errors import InputError
from tests.unit.router.rows import confident

TREE = """
version: 1
categories:
  - {name: money, rules: [{keywords: [bank]}]}
  - {name: water, rules: [{keywords: [river]}]}
"""


def outcomes(texts: tuple[str, ...]) -> Outcomes:
    rows = confident(len(texts))
    return Outcomes(dataset="d", models=("a", "b"), texts=texts, observed=rows, left_out=0, priced=False)


def test_a_tree_says_the_category_of_each_text(tmp_path: Path) -> None:
    tree = tmp_path / "tree.yaml"
    tree.write_text(TREE)
    one = outcomes(("the river", "a bank", "another river"))
    assert categorised(one, tree).observed.category.tolist() == [1, 0, 1]
    assert categorised(replace(one, texts=one.texts[::-1]), tree).observed.category.tolist() == [1, 0, 1]


@pytest.mark.parametrize("text", ["categories: [", "categories: []", "1"])
def test_a_tree_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree.yaml"
    tree.write_text(text)
    with pytest.raises(InputError, match=r"tree\.yaml"):
        categorised(outcomes(("a",)), tree)

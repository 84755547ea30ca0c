"""Rules over a column say what Python's `re` says text by text."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.taxonomy.rules import match
from pipeline.taxonomy.tree import Node
from schemas.ids import QueryId
from schemas.records import Query
from schemas.taxonomy import Rule


def node(*rules: dict[str, Any]) -> Node:
    return Node(
        path="n",
        texts=(),
        rules=tuple(Rule.model_validate(rule) for rule in rules),
        allowed_tiers=None,
        sensitive=False,
    )


def hits(rule: dict[str, Any], *texts: str, **fields: str) -> list[bool]:
    queries = [Query(query_id=QueryId("q"), text=text, fields=fields) for text in texts]
    found: list[bool] = match([node(rule)], queries)[:, 0].tolist()
    return found


def by_row(rule: Rule, query: Query) -> bool:
    """The rule, spelled out for one query."""
    words = [rf"(?<!\w){re.escape(word)}(?!\w)" for word in rule.keywords]
    if words and not any(re.search(word, query.text, re.IGNORECASE) for word in words):
        return False
    if rule.regex is not None and not re.search(rule.regex, query.text):
        return False
    return rule.field is None or query.fields.get(rule.field) == rule.equals


@pytest.mark.parametrize(
    ("keyword", "text", "hit"),
    [
        ("refund", "A REFUND, please", True),
        ("refund", "refunds", False),
        ("refund", "prerefund", False),
        ("refund", "refund_me", False),
        ("refund", "(refund)", True),
        ("refund", "a\nrefund\nb", True),
        ("money back", "my Money Back!", True),
        ("two-factor", "the two-factor code", True),
        ("c++", "in C++.", True),
        ("c++", "in c+++", True),
        ("a.b", "axb", False),
        ("caf", "café", False),
        ("café", "im CAFÉ.", True),
        ("ber", "über", False),
        ("über", "Über uns", True),
        ("über", "gegenüber", False),
        ("東京", "東京 へ", True),
        ("東京", "東京都", False),
    ],
)
def test_keywords_are_whole_words_in_any_case(keyword: str, text: str, hit: bool) -> None:
    assert hits({"keywords": [keyword]}, text) == [hit]


@pytest.mark.parametrize(
    ("pattern", "text", "hit"),
    [
        (r"\bécole\b", "à l'école.", True),
        (r"^\w+$", "größe", True),
        (r"foo$", "foo\n", True),
        (r"(?i)straße", "STRAßE", True),
        (r"a(?=b)", "ab", True),
        (r"a(?!b)", "ab", False),
        (r"(?<!x)a", "xa", False),
        (r"(.)\1", "abba", True),
        (r"a{,2}b", "b", True),
        (r"\d", "٣", True),
        (r"a\sb", "a\x0bb", True),
        (r".", "", False),
        (r"^$", "", True),
    ],
)
def test_expressions_mean_what_they_mean_in_python(pattern: str, text: str, hit: bool) -> None:
    assert hits({"regex": pattern}, text) == [hit]
    assert bool(re.search(pattern, text)) == hit


def test_all_tests_of_a_rule_hold_together_and_rules_are_alternatives() -> None:
    rule = {"keywords": ["a"], "regex": "b", "field": "f", "equals": "x"}

    assert hits(rule, "a b", f="x") == [True]
    assert (
        hits(rule, "a b", f="y")
        == hits(rule, "a b")
        == hits(rule, "a", f="x")
        == hits(rule, "b", f="x")
        == [False]
    )
    queries = [Query(query_id=QueryId("q"), text=text) for text in ("a", "b", "c")]
    assert match([node({"keywords": ["a"]}, {"keywords": ["b"]}), node()], queries).tolist() == [
        [True, False],
        [True, False],
        [False, False],
    ]


def test_no_queries() -> None:
    assert match([node({"keywords": ["a"]})], []).shape == (0, 1)


PATTERNS = [r"\bab\b", r"(?i)é", r"a$", r"^b", r"\W", r"a(?=b)", r"[^a]b", r"a\s+b", r"\d{2}", r"(a|b)\1"]
texts = st.text() | st.text(alphabet="ab é\n_-1.É\x0b\x1c")
rules = st.one_of(
    st.builds(
        lambda words: Rule(keywords=words),
        st.lists(st.sampled_from(["ab", "a b", "é", "b-", "1"]), min_size=1),
    ),
    st.builds(lambda pattern: Rule(regex=pattern), st.sampled_from(PATTERNS)),
    st.builds(lambda word: Rule(keywords=["a"], field="f", equals=word), st.sampled_from(["x", "y"])),
)


@given(st.lists(rules, min_size=1, max_size=3), st.lists(texts, max_size=6))
def test_the_column_agrees_with_row_by_row(rules: list[Rule], texts: list[str]) -> None:
    queries = [Query(query_id=QueryId("q"), text=text, fields={"f": "x"}) for text in texts]
    nodes = [node(rule.model_dump()) for rule in rules]

    found = match(nodes, queries)

    assert found.tolist() == [[by_row(rule, query) for rule in rules] for query in queries]

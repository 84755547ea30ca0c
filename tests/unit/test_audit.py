"""Which plans an audit looks at, and how what they did is put into words."""

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from pipeline.audit.batch import orders_of
from pipeline.audit.certificate import Audited, agreement_of_parts
from pipeline.audit.stratified import ByLabel
from pipeline.certify.strata import Stratum
from pipeline.certify.strata import test_strata as strata_tests
from pipeline.report.certificate import details, headline, tables
from schemas.ids import TierName
from schemas.job import ClassifyTask, ExtractTask

ROW: dict[str, Any] = {
    "certified": True, "pending": False, "reason": "", "target": 0.95, "reference": "gpt-4.1", "confidence": 0.95,
    "agreeing": 596, "audited": 600, "p_value": 4e-9, "off_plan": 0, "population": 10_000, "audit_usd": Decimal("1.25"),
    "plan": '{"tiers": [{"tier": "nano", "accept": 0.91}, {"tier": "gpt-4.1", "accept": 0.0}]}',
    "labels": None, "judge": None, "graded": 0, "reference_accuracy": None, "self_agreement": None, "repeated": 0,
    "accuracy": 0.981, "accuracy_low": 0.97, "accuracy_high": 0.99,
    "parts": '{"categories": {"a": {"share": 0.98, "low": 0.9712, "high": 1.0, "graded": 30, "population": 90}, '
    '"b": {"share": 0.5, "low": 0.4, "high": 0.6, "graded": 11, "population": 20}}, "fields": {"total": 0.75}}',
}  # fmt: skip


def names(text: str) -> tuple[TierName, ...]:
    return tuple(map(TierName, text))


def test_every_choice_of_tiers_is_looked_at_once_in_their_order() -> None:
    orders = orders_of(names("abc"))
    assert orders[0] == ("a", "b", "c")
    assert sorted(map("".join, orders)) == ["a", "ab", "abc", "ac", "b", "bc", "c"]


@pytest.mark.parametrize("count", [1, 4, 6])
def test_of_many_tiers_all_ways_from_one_on_are_looked_at(count: int) -> None:
    ladder = names("abcdef"[:count])
    orders = orders_of(ladder)
    assert {ladder[start:] for start in range(count)} <= set(orders)
    assert len(orders) == len(set(orders)) <= 50
    assert all(one < two for order in orders for one, two in pairwise(order))


def test_a_certificate_is_one_line() -> None:
    assert headline(ROW) == (
        "Certified: at least 95% agreement with gpt-4.1 (confidence 95%); 596 of 600 audited rows agree, exact "
        "hypergeometric bound, p = 4e-09; 0 of 10,000 rows off plan; pilot and audit cost $1.250000"
    )
    assert details(ROW) == [
        "Plan: nano from 0.91 > gpt-4.1",
        "Agreement of all rows, estimated: 98.1% (97.0% to 99.0%); approximate, and the plan was selected on the same "
        "audit",
        "Accuracy of gpt-4.1 itself: not known, no drawn row has gold",
    ]


def test_what_is_not_certified_says_why() -> None:
    row = {
        **ROW,
        "certified": False,
        "reason": "too few agree",
        "plan": None,
        "accuracy": None,
        "graded": 50,
        "reference_accuracy": 0.9,
    }
    assert headline(row) == (
        "Not certified (95% agreement with gpt-4.1): too few agree; pilot and audit cost $1.250000"
    )
    assert details(row) == ["Accuracy of gpt-4.1 itself: 90.0% of 50 drawn rows with gold"]


def test_what_waits_for_people_says_so_and_what_they_said_is_judged() -> None:
    people = {**ROW, "reference": "human", "audit_usd": Decimal(0)}
    waiting = {
        **people,
        "certified": False,
        "pending": True,
        "reason": "3 of 600 drawn rows are labelled: do more",
    }
    assert headline(waiting) == (
        "Pending (95% agreement with people's labels): 3 of 600 drawn rows are labelled: do more"
    )
    assert headline(people) == (
        "Certified: at least 95% agreement with people's labels (confidence 95%); 596 of 600 audited rows agree, "
        "exact hypergeometric bound, p = 4e-09; 0 of 10,000 rows off plan"
    )
    judged = {**people, "graded": 40, "reference_accuracy": 0.95, "repeated": 20, "self_agreement": 0.9}
    assert details(judged)[1:] == [
        "Agreement of all rows, estimated: 98.1% (97.0% to 99.0%); approximate",
        "Accuracy of people's labels: 95.0% of 40 rows with gold",
        "Reviewers gave the same label on 90.0% of the 20 drawn rows that several labelled; the latest stands",
    ]


def test_what_was_measured_beside_it_is_in_tables() -> None:
    (by_category, categories), (by_field, fields) = tables(ROW)
    assert by_category == "Agreement by category, estimated"
    assert categories[0] == {
        "category": "a", "share": 0.98, "low": 0.971, "high": 1.0, "graded": 30, "population": 90
    }  # fmt: skip
    assert by_field == "Agreement by field on the audited rows; not certified"
    assert fields == [{"field": "total", "agreement": 0.75}]
    assert tables(ROW | {"parts": None}) == []


def test_what_is_promised_of_each_label_is_said_with_its_evidence() -> None:
    strata = [
        Stratum(label="bill", rows=900, known=500, sure=495, drawn=100, agreeing=99),
        Stratum(label="rare", rows=30, known=2, sure=2),
        Stratum(label="wild", rows=300, known=100, sure=60, drawn=0),
        Stratum(label="weak", rows=900, known=100, sure=95, drawn=100, agreeing=90, unasked=4),
    ]
    found = ByLabel(target=0.9, delta=0.05, claims=strata_tests(strata, 0.9, 0.05))
    row = {**ROW, "labels": json.dumps(msgspec.to_builtins(found))}
    assert details(row)[2] == (
        "Labels certified, 1 of 4: bill; at least 90% of the rows answered so agree with gpt-4.1 (confidence 95% for "
        "all labels together, beside the job's own)"
    )
    name, rows = tables(row)[0]
    assert name == "Certificate by label"
    assert [each["certified"] for each in rows] == [
        "yes", "not certifiable: at least 14 of 28 rows have to be drawn", "no: too many rows are known to disagree",
        "no: 4 drawn rows could not be asked",
    ]  # fmt: skip


def audited(*pairs: tuple[str | None, str | None]) -> list[Audited]:
    return [Audited(category="", answer=answer, predicted=0.5, reference=label) for answer, label in pairs]


def test_sets_are_compared_label_by_label_and_objects_field_by_field() -> None:
    task = ClassifyTask.model_validate({"kind": "classify", "mode": "multi", "labels": ["a", "b"]})
    sets = audited(('["a"]', '["a", "b"]'), ('["a", "b"]', '["a", "b"]'), (None, '["a"]'))
    assert agreement_of_parts(task, sets) == {"labels": {"a": 1.0, "b": 0.5}}
    extract = ExtractTask.model_validate({"kind": "extract", "schema": {"type": "object"}})
    objects = audited(
        ('{"x": 1}', "unreadable gold"), ('{"x": 1}', '{"x": 1.0}'), ('{"x": 1, "y": 2}', '{"x": 2, "y": 2}')
    )
    assert agreement_of_parts(extract, objects) == {"fields": {"x": 0.5, "y": 1.0}}

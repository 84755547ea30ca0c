"""Alerts and dashboard name only metrics, labels and values that workers expose."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from pipeline.monitoring.meters import METRICS
from pipeline.ports.ledger import JobState, StopReason
from schemas.money import TOKEN_CLASSES
from schemas.records import Outcome, Status
from tests.catalogue import catalogue

INFRA = Path(__file__).parents[2] / "infra"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((INFRA / "alerts.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((INFRA / "grafana" / "tierwise.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
VALUES = {
    "reply": {"answered", "rate_limited", "failed", "rejected"},
    "verdict": {"certified", "withheld"},
    "class": set(TOKEN_CLASSES),
    "status": set(get_args(Status)),
    "outcome": {*get_args(Outcome), "committed"},
    "state": set(get_args(JobState)),
    "reason": set(get_args(StopReason)),
}
SCRAPE = {"instance", "le"}  # labels that Prometheus and histograms add


EXPRESSIONS = [*(rule["expr"] for rule in RULES), *(target["expr"] for target in TARGETS)]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_it_asks_for_what_there_is(expression: str) -> None:
    known = catalogue()
    names = re.findall(r"tierwise_\w+", expression)
    assert names
    for name in names:
        assert name in known
    labels = SCRAPE.union(*(known[name] for name in names))
    for grouped in re.findall(r"\b(?:by|on|without) \(([^)]*)\)", expression):
        assert {label.strip() for label in grouped.split(",")} <= labels
    for name, matchers in re.findall(r"(tierwise_\w+)\{([^}]*)\}", expression):
        for label, value in re.findall(r'(\w+)\s*(?:=|!=|=~|!~)\s*"([^"]*)"', matchers):
            assert label in known[name]
            assert label not in VALUES or set(value.split("|")) <= VALUES[label]
    assert expression.count("(") == expression.count(")")


def test_counters_are_asked_for_their_rate_and_the_shared_ledger_is_not_summed() -> None:
    for expression in EXPRESSIONS:
        for name, metric in METRICS.items():
            if metric.kind == "counter" and name in expression:
                assert re.search(rf"(?:rate|increase)\({name}", expression), expression
        assert not re.search(
            r"\bsum[^a-z]*\(tierwise_(?:account|job|jobs|upstream|queue|ledger_up)_", expression
        )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "action"}
    for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert re.search(rf"\bby \([^)]*\b{label}\b", rule["expr"]), label


def test_the_dashboard_reads_the_datasource_that_is_provisioned() -> None:
    (source,) = yaml.safe_load(
        (INFRA / "grafana/provisioning/datasources/prometheus.yaml").read_text("utf-8")
    )["datasources"]
    assert {each["datasource"]["uid"] for each in [*PANELS, *TARGETS]} == {source["uid"]}
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    places = [tuple(panel["gridPos"][side] for side in "xy") for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)

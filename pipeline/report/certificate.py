"""A certificate in words: what is promised on which evidence, or why nothing is."""

import json
from typing import Any

from pipeline.report.sql import Row


def headline(row: Row) -> str:
    """One line. The promise is "at least the target"; the agreement on the sample that chose the plan is none."""
    if row["target"] is None:
        return _measured(row)
    promise = f"{_percent(row['target'])} agreement with {_name(row)}"
    if row["pending"]:
        return f"Pending ({promise}): {row['reason']}"
    cost = "" if row["reference"] == "human" else f"; pilot and audit cost ${row['audit_usd']:,.6f}"
    if not row["certified"]:
        return f"Not certified ({promise}): {row['reason']}{cost}"
    return (
        f"Certified: at least {promise} (confidence {_percent(row['confidence'])}); {row['agreeing']:,} of "
        f"{row['audited']:,} audited rows agree, exact hypergeometric bound, p = {row['p_value']:.2g}; "
        f"{row['off_plan']:,} of {row['population']:,} rows off plan{cost}"
    )


def verdict(row: Row) -> list[str]:
    """The promise alone, without its reasons; nothing where none was asked for."""
    if row["target"] is None:
        return []
    said = "Certified" if row["certified"] else "Pending" if row["pending"] else "Not certified"
    promise = f"≥ {row['target']:.1%} agreement with {_name(row)} (confidence {_percent(row['confidence'])})"
    return [f"{said} {promise}."]


def _measured(row: Row) -> str:
    what = (
        f"Agreement with {_name(row)} on {row['audited']:,} audited rows; they cost ${row['audit_usd']:,.6f}"
    )
    if row["accuracy"] is None:
        return f"Nothing was measured: {row['reason']}. {what}"
    return (
        f"Measured: {row['accuracy']:.1%} ({row['accuracy_low']:.1%} to {row['accuracy_high']:.1%}). {what}"
    )


def details(row: Row) -> list[str]:
    """What stands behind it, and what it does not cover."""
    lines = []
    if row["plan"]:
        asked = json.loads(row["plan"])["tiers"]
        shown = [f"{each['tier']} from {each['accept']:.2f}" for each in asked[:-1]] + [asked[-1]["tier"]]
        lines.append(f"Plan: {' > '.join(shown)}")
    if row["accuracy"] is not None and row["target"] is not None:
        chosen = "" if row["reference"] == "human" else ", and the plan was selected on the same audit"
        lines.append(
            f"Agreement of all rows, estimated: {row['accuracy']:.1%} ({row['accuracy_low']:.1%} to "
            f"{row['accuracy_high']:.1%}); approximate{chosen}"
        )
    lines += _by_label(row)
    if row["judge"]:
        unread = f", {row['unread']:,} of them without a verdict, which disagree" if row["unread"] else ""
        lines.append(
            f"{row['judge']} was asked about {row['judged']:,} pairs of answers{unread}; "
            "how often it is right is not known"
        )
    if row["reference"] == "human":
        return [*lines, *_people(row)]
    if row["reference"] != "gold":
        known = row["reference_accuracy"]
        lines.append(
            f"Accuracy of {row['reference']} itself: not known, "
            + ("free text equals no gold" if row["judge"] else "no drawn row has gold")
            if known is None
            else f"Accuracy of {row['reference']} itself: {known:.1%} of {row['graded']:,} drawn rows with gold"
        )
        if row["self_agreement"] is not None:
            twice = f"{row['self_agreement']:.1%} of {row['repeated']:,} audited rows"
            lines.append(f"{row['reference']}, asked once more, gave the same answer on {twice}")
    return lines


def _by_label(row: Row) -> list[str]:
    """What is promised of each label."""
    if not row["labels"]:
        return []
    said = json.loads(row["labels"])
    names = [each["stratum"]["label"] for each in said["claims"] if each["certified"]]
    promise = (
        f"at least {_percent(said['target'])} of the rows answered so agree with {row['reference']} (confidence "
        f"{_percent(1 - said['delta'])} for all labels together, beside the job's own)"
    )
    lines = [f"Labels: {said['reason']}"] if said["reason"] else []
    if names:
        return [
            *lines,
            f"Labels certified, {len(names)} of {len(said['claims'])}: {', '.join(names)}; {promise}",
        ]
    return [*lines, f"No label is certified: {promise} was asked for"] if said["claims"] else lines


def label_rows(row: Row) -> list[Row]:
    """The evidence for each label, and what became of it."""
    said = json.loads(row["labels"] or '{"claims": []}')
    found = []
    for claim in said["claims"]:
        each = claim["stratum"]
        found.append(
            {
                "label": each["label"], "certified": _label_verdict(claim), "rows": each["rows"],
                "known": each["known"], "of them agree": each["sure"],
                "drawn": each["drawn"], "of these agree": each["agreeing"], "p": _short(claim["p"]),
            }
        )  # fmt: skip
    return found


def _label_verdict(claim: dict[str, Any]) -> str:
    each, fewest = claim["stratum"], claim["fewest"]
    if claim["certified"]:
        return "yes"
    if fewest is None:
        return "no: too many rows are known to disagree"
    rest = each["rows"] - each["known"]
    if not each["drawn"]:
        return f"not certifiable: at least {fewest:,} of {rest:,} rows have to be drawn"
    return (
        f"no: {each['unasked']:,} drawn rows could not be asked" if each["unasked"] else "no: too few agree"
    )


def _people(row: Row) -> list[str]:
    """How far people's labels can be relied on, as far as it is known."""
    lines = []
    if row["reference_accuracy"] is not None:
        lines.append(
            f"Accuracy of people's labels: {row['reference_accuracy']:.1%} of {row['graded']:,} rows with gold"
        )
    if row["self_agreement"] is not None:
        twice = f"{row['self_agreement']:.1%} of the {row['repeated']:,} drawn rows that several labelled"
        lines.append(f"Reviewers gave the same label on {twice}; the latest stands")
    return lines


def _name(row: Row) -> str:
    if row["reference"] == "human":
        return "people's labels"
    return f"{row['reference']} as judged by {row['judge']}" if row["judge"] else str(row["reference"])


def tables(row: Row) -> list[tuple[str, list[Row]]]:
    """By category, label and field: what was measured on the audited rows. No bound covers it."""
    parts: dict[str, Any] = json.loads(row["parts"] or "{}")
    found: list[tuple[str, list[Row]]] = []
    if rows := label_rows(row):
        found.append(("Certificate by label", rows))
    if len(parts.get("categories", ())) > 1:
        columns = ("share", "low", "high", "graded", "population")
        rows = [
            {"category": name} | {column: _short(each[column]) for column in columns}
            for name, each in parts["categories"].items()
        ]
        found.append(("Agreement by category, estimated", rows))
    for kind, single in (("labels", "label"), ("fields", "field")):
        if shares := parts.get(kind):
            rows = [{single: name, "agreement": _short(share)} for name, share in shares.items()]
            found.append((f"Agreement by {single} on the audited rows; not certified", rows))
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.6g}%"


def _short(value: float) -> float:
    return round(value, 3) if isinstance(value, float) else value

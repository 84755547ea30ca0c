"""AWS Cost and Usage Reports (CUR 2.0, or the older one), CSV or Parquet: what Bedrock billed by usage type.

Source: docs.aws.amazon.com/bedrock/latest/userguide/cost-mgmt-understanding-cur-data.html. A line is one token class
of one model: `USE1-Claude3Haiku-input-tokens` in thousands; models sold through the marketplace are named by their
product, `USE1-MP:USE1_InputTokenCount-Units` in millions.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pipeline.reconcile.usage import Billed, Export, Place, days_between, field, in_lane

USAGE_TYPE = "line_item_usage_type"
COLUMNS = (
    USAGE_TYPE, "line_item_usage_start_date", "line_item_usage_amount", "line_item_unblended_cost", "pricing_unit",
    "line_item_product_code", "line_item_line_item_type", "line_item_currency_code", "product_product_name", "product",
)  # fmt: skip
CLASSES = ("input", "cached_input", "cache_write", "output")
LANES = ("batch", "flex", "priority", "latency-optimized")
EDITION = " (Amazon Bedrock Edition)"

_BILLED_LINES = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage")
_UNITS = {"1k tokens": 1_000, "1m tokens": 1_000_000, "units": 1_000_000, "tokens": 1}
_KINDS = {"input": "input", "output": "output", "cache-read": "cached_input", "cache-write": "cache_write"}
_OWN = re.compile(
    r"(?:[A-Z]{2,4}\d?-)?(?P<model>.+?)-(?:mantle-)?(?:text-)?(?P<kind>cache-read|cache-write|input|output)-"
    r"(?:input-)?tokens?(?:-count)?(?P<rest>-.*)?"
)
_MARKETPLACE = re.compile(
    r"(?:million-)?(?P<lane>batch-)?(?P<kind>cache-read|cache-write|input|output)(?:-?\d+[mh])?-"
    r"(?:input-)?tokens?(?:-count)?(?P<rest>-.*)?"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def column(name: str) -> str:
    """`lineItem/UsageType` of the older report as Athena and CUR 2.0 write it: `line_item_usage_type`."""
    return _CAMEL.sub("_", name).replace("/", "_").lower()


def read_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> Export:
    """From the lines of a report, columns named as in CUR 2.0. Raises UsageError."""
    billed: list[Billed] = []
    days: set[date] = set()
    left_out: Counter[str] = Counter()
    for number, row in enumerate(rows, 1):
        place = Place(path, f"row {number}")
        day = _day(row, place)
        days.add(day)
        found = _line(row, day, place)
        if isinstance(found, Billed):
            billed.append(found)
        elif found:
            left_out[found] += 1
    if not days:
        raise Place(path, "").wrong("it has no rows")
    covered = frozenset(days_between(min(days), max(days)))
    return Export(form="bedrock", billed=tuple(billed), days=covered, sparse=True, left_out=dict(left_out))


def _line(row: Mapping[str, Any], day: date, place: Place) -> Billed | str:
    """What a line bills; or what kind of line it is, "" for one that has nothing to do with models."""
    product = _product(row)
    if (
        not str(row.get("line_item_product_code") or "").startswith("AmazonBedrock")
        and EDITION not in product
    ):
        return ""
    usage_type, kind = (
        str(field(row, USAGE_TYPE, place) or ""),
        row.get("line_item_line_item_type") or "Usage",
    )
    if kind not in _BILLED_LINES:
        return f"lines of type {kind}"
    known = classify(usage_type, product)
    if known is None:
        return f"lines of usage type {usage_type}"
    model, token_class = known
    if (currency := row.get("line_item_currency_code") or "USD") != "USD":
        raise place.wrong(f"its cost is in {currency}", "Reconcile a report in USD.")
    tokens = {name: 0 for name in CLASSES} | {token_class: _tokens(row, usage_type, place)}
    cost = _number(row, "line_item_unblended_cost", place)
    return Billed(model=model, day=day, tokens=tokens, cost=cost)


def classify(usage_type: str, product: str = "") -> tuple[str, str] | None:
    """Model and token class of a usage type; None where it bills no tokens of text."""
    _, marketplace, tail = usage_type.partition("MP:")
    if marketplace:
        tail = _CAMEL.sub("-", tail.partition("_")[2]).replace("_", "-").lower().removesuffix("-units")
        found, model = _MARKETPLACE.fullmatch(tail), product.removesuffix(EDITION)
    else:
        found = _OWN.fullmatch(usage_type)
        model = found["model"] if found else ""
    if found is None or not model:
        return None
    said = f"-{found.groupdict().get('lane') or ''}{found['rest'] or ''}"
    lane = next((lane for lane in LANES if f"-{lane}" in said), "")
    return in_lane(model, lane), _KINDS[found["kind"]]


def _product(row: Mapping[str, Any]) -> str:
    """CUR 2.0 keeps a product's attributes in one map."""
    name = row.get("product_product_name")
    if name:
        return str(name)
    product = row.get("product")
    if isinstance(product, str):
        try:
            product = json.loads(product or "{}")
        except ValueError:
            product = {}
    return str(dict(product or {}).get("product_name") or "")


def _tokens(row: Mapping[str, Any], usage_type: str, place: Place) -> int:
    unit = str(row.get("pricing_unit") or ("units" if "MP:" in usage_type else "1k tokens"))
    if unit.lower() not in _UNITS:
        raise place.wrong(f"pricing_unit is {unit!r}", f"Known: {', '.join(_UNITS)}.")
    amount = _number(row, "line_item_usage_amount", place)
    if amount is None or amount < 0:
        raise place.wrong(f"line_item_usage_amount is {row.get('line_item_usage_amount')!r}")
    return round(amount * _UNITS[unit.lower()])


def _number(row: Mapping[str, Any], name: str, place: Place) -> Decimal | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("nan")
    if not found.is_finite():
        raise place.wrong(f"{name} is {value!r}, no number")
    return found


def _day(row: Mapping[str, Any], place: Place) -> date:
    value = field(row, "line_item_usage_start_date", place)
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise place.wrong(f"line_item_usage_start_date is {value!r}, no time") from None
    return (found.astimezone(UTC) if found.tzinfo else found).date()

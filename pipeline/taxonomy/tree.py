"""The tree, flattened: one node per category, with what it inherits from its parents."""

from collections.abc import Iterator

import msgspec

from schemas.records import Assignment
from schemas.taxonomy import Category, Rule, TaxonomySpec

ROOT = Assignment(category="", score=1.0, familiar=False, source="none")  # where there is no taxonomy


class Node(msgspec.Struct, frozen=True, kw_only=True):
    path: str  # names from the root, "/"-joined
    texts: tuple[str, ...]  # description and examples, for similarity
    rules: tuple[Rule, ...]
    allowed_tiers: frozenset[str] | None  # None: all
    sensitive: bool


def flatten(spec: TaxonomySpec) -> list[Node]:
    """All nodes, parents before children; allowed tiers are cut down by every ancestor's."""
    return list(_flatten(spec.categories, "", None, False))


def _flatten(
    categories: list[Category], prefix: str, allowed: frozenset[str] | None, sensitive: bool
) -> Iterator[Node]:
    for category in categories:
        path = f"{prefix}{category.name}"
        here = _narrow(allowed, category.allowed_tiers)
        guarded = sensitive or category.sensitivity == "high"
        texts = tuple(text for text in (category.description, *category.examples) if text)
        yield Node(path=path, texts=texts, rules=tuple(category.rules), allowed_tiers=here, sensitive=guarded)
        yield from _flatten(category.children, f"{path}/", here, guarded)


def _narrow(allowed: frozenset[str] | None, more: list[str] | None) -> frozenset[str] | None:
    if more is None:
        return allowed
    return frozenset(more) if allowed is None else allowed & frozenset(more)

"""Rules over a whole batch at once: one pass of a compiled expression over a column per rule."""

import re
from collections.abc import Sequence
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.taxonomy.tree import Node
from schemas.records import Query
from schemas.taxonomy import Rule

Mask = NDArray[np.bool_]


# Where a text is plain ASCII, RE2 (Arrow's engine) and Python's `re` agree; elsewhere only Python knows what
# a word is. A line break at the end is where their `$` differ.
_PLAIN = r"\A(?:[\t\n\f\r -~]*[ -~])?\z"
_PYTHON_ONLY = re.compile(r"\{,|\[:.*:\]", re.S)  # legal in both, with different meanings


def match(nodes: Sequence[Node], queries: Sequence[Query]) -> NDArray[np.bool_]:
    """Array of shape (queries, nodes): whether any rule of the node matches."""
    column = _Column([query.text for query in queries])
    matched = np.zeros((len(queries), len(nodes)), dtype=bool)
    for index, node in enumerate(nodes):
        tests = [(rule, _patterns(rule)) for rule in node.rules]
        lone = [patterns[0] for rule, patterns in tests if rule.field is None and len(patterns) == 1]
        if lone:
            matched[:, index] = column.search(lone)
        for rule, patterns in tests:
            if rule.field is not None or len(patterns) > 1:
                matched[:, index] |= _matches(rule, patterns, column, queries)
    return matched


def _patterns(rule: Rule) -> list[str]:
    """What a text must match, all of it."""
    words = "|".join(re.escape(word) for word in sorted(rule.keywords, key=len, reverse=True))
    keywords = [rf"(?i)(?:^|\W)(?:{words})(?:$|\W)"] if words else []
    return keywords if rule.regex is None else [*keywords, rule.regex]


def _matches(rule: Rule, patterns: Sequence[str], column: "_Column", queries: Sequence[Query]) -> Mask:
    mask = np.ones(len(queries), dtype=bool)
    for pattern in patterns:
        mask &= column.search([pattern])
    if rule.field is not None:
        mask &= np.array([query.fields.get(rule.field) == rule.equals for query in queries], dtype=bool)
    return mask


class _Column:
    """The texts of a batch."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._arrow = pa.array(texts, pa.string())
        self._odd = np.flatnonzero(~_as_mask(pc.match_substring_regex(self._arrow, _PLAIN))).tolist()

    def search(self, patterns: Sequence[str]) -> Mask:
        """Where `re.search` finds one of them: by one pass over the column where that is the same."""
        found = self._pass(patterns)
        if found is None and len(patterns) > 1:
            each = [self.search([pattern]) for pattern in patterns]
            return cast(Mask, np.logical_or.reduce(each))
        rest: Sequence[int] = self._odd
        if found is None:
            found, rest = np.zeros(len(self._texts), dtype=bool), range(len(self._texts))
        searches = [re.compile(pattern).search for pattern in patterns]
        for row in rest:
            text = self._texts[row]
            found[row] = any([search(text) is not None for search in searches])
        return found

    def _pass(self, patterns: Sequence[str]) -> Mask | None:
        """What Arrow's engine finds; None where only Python's knows what is meant."""
        if any(_PYTHON_ONLY.search(pattern) for pattern in patterns):
            return None
        try:
            joined = "|".join(f"(?:{pattern})" for pattern in patterns)
            return _as_mask(pc.match_substring_regex(self._arrow, joined))
        except pa.ArrowInvalid:  # lookarounds and back-references
            return None


def _as_mask(found: pa.Array) -> Mask:
    mask: Mask = found.to_numpy(zero_copy_only=False).copy()
    return mask

"""Rules over a whole batch at once: one pass of a compiled expression over a column per rule."""

import re
from collections.abc import Sequence

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
_PYTHON_ONLY = re.compile(r"\{,|\[:")  # legal in both, with different meanings


def match(nodes: Sequence[Node], queries: Sequence[Query]) -> NDArray[np.bool_]:
    """Array of shape (queries, nodes): whether any rule of the node matches."""
    texts = [query.text for query in queries]
    column = pa.array(texts, pa.string())
    plain = _as_mask(pc.match_substring_regex(column, _PLAIN))
    matched = np.zeros((len(queries), len(nodes)), dtype=bool)
    for index, node in enumerate(nodes):
        for rule in node.rules:
            matched[:, index] |= _matches(rule, texts, column, plain, queries)
    return matched


def _matches(
    rule: Rule, texts: Sequence[str], column: pa.Array, plain: Mask, queries: Sequence[Query]
) -> Mask:
    mask = np.ones(len(queries), dtype=bool)
    if rule.keywords:
        words = "|".join(re.escape(word) for word in sorted(rule.keywords, key=len, reverse=True))
        mask &= _search(rf"(?i)(?:^|\W)(?:{words})(?:$|\W)", texts, column, plain)
    if rule.regex is not None:
        mask &= _search(rule.regex, texts, column, plain)
    if rule.field is not None:
        mask &= np.array([query.fields.get(rule.field) == rule.equals for query in queries], dtype=bool)
    return mask


def _search(pattern: str, texts: Sequence[str], column: pa.Array, plain: Mask) -> Mask:
    """What `re.search` finds: by one pass over the column where that is the same, else text by text."""
    found = np.zeros(len(texts), dtype=bool)
    slow = ~plain
    try:
        if _PYTHON_ONLY.search(pattern):
            slow = np.ones(len(texts), dtype=bool)
        else:
            found = _as_mask(pc.match_substring_regex(column, pattern))
    except pa.ArrowInvalid:  # lookarounds and back-references: only Python's engine has them
        slow = np.ones(len(texts), dtype=bool)
    if slow.any():
        compiled = re.compile(pattern)
        for row in np.flatnonzero(slow).tolist():
            found[row] = compiled.search(texts[row]) is not None
    return found


def _as_mask(found: pa.Array) -> Mask:
    mask: Mask = found.to_numpy(zero_copy_only=False).copy()
    return mask

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


def match(nodes: Sequence[Node], queries: Sequence[Query]) -> NDArray[np.bool_]:
    """Array of shape (queries, nodes): whether any rule of the node matches."""
    texts = pa.array([query.text for query in queries], pa.string())
    matched = np.zeros((len(queries), len(nodes)), dtype=bool)
    for column, node in enumerate(nodes):
        for rule in node.rules:
            matched[:, column] |= _matches(rule, texts, queries)
    return matched


def _matches(rule: Rule, texts: pa.Array, queries: Sequence[Query]) -> Mask:
    mask = np.ones(len(queries), dtype=bool)
    if rule.keywords:
        words = "|".join(re.escape(word) for word in sorted(rule.keywords, key=len, reverse=True))
        mask &= _search(rf"(?i)(^|\W)({words})($|\W)", texts)
    if rule.regex is not None:
        mask &= _search(rule.regex, texts)
    if rule.field is not None:
        mask &= np.array([query.fields.get(rule.field) == rule.equals for query in queries], dtype=bool)
    return mask


def _search(pattern: str, texts: pa.Array) -> Mask:
    try:
        found = pc.match_substring_regex(texts, pattern)
    except pa.ArrowInvalid:  # lookarounds and back-references: only Python's engine has them
        compiled = re.compile(pattern)
        return np.array([compiled.search(text) is not None for text in texts.to_pylist()], dtype=bool)
    mask: Mask = found.to_numpy(zero_copy_only=False)
    return mask

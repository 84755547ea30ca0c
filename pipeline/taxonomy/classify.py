"""Rules, similarity and the slow classifier joined: p = w·p_slow + (1-w)·p_fast."""

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Literal

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pipeline.ports.encoder import Encoder
from pipeline.taxonomy.rules import match
from pipeline.taxonomy.similarity import SimilarityClassifier
from pipeline.taxonomy.tree import ROOT, Node, flatten
from schemas.ids import TierName
from schemas.records import Assignment, Query
from schemas.taxonomy import TaxonomySpec


class Taxonomy:
    """Compiled once per job. A query that fits no category stands at the root."""

    def __init__(
        self, spec: TaxonomySpec, encoder: Encoder, *, familiar_margin: float, slow_weight: float
    ) -> None:
        self.nodes = flatten(spec)
        self._fast = SimilarityClassifier(self.nodes, encoder)
        self._only = [
            Assignment(category=node.path, score=1.0, familiar=True, source="rule", margin=1.0)
            for node in self.nodes
        ]
        self._allowed = {node.path: node.allowed_tiers for node in self.nodes}
        self._sensitive = [index for index, node in enumerate(self.nodes) if node.sensitive]
        self._described = sum(bool(node.texts) for node in self.nodes)
        self._margin = familiar_margin
        self._weight = slow_weight

    def classify(self, queries: Sequence[Query]) -> list[Assignment]:
        """Rules decide where exactly the deepest matching category is clear; similarity decides the rest."""
        if not queries:
            return []
        ruled = match(self.nodes, queries)
        assigned = [
            self._only[node] for node in ruled.argmax(axis=1).tolist()
        ]  # right where one rule matches
        hits = ruled.sum(axis=1)
        unclear = np.flatnonzero(hits != 1)
        fast = self._fast.probabilities([queries[row].text for row in unclear.tolist()])
        for row, similar, best in zip(unclear.tolist(), fast, self._best(fast, "fast"), strict=True):
            assigned[row] = self._deepest(ruled[row], similar) if hits[row] else best
        return assigned

    def with_slow(
        self, queries: Sequence[Query], assigned: Sequence[Assignment], said: Mapping[int, tuple[int, float]]
    ) -> list[Assignment]:
        """Assignments again, with the slow classifier's word (row -> node index, probability) mixed in.
        What a rule called sensitive stays so, whatever a model says; what likeness suspected keeps its tiers."""
        guarded = {self.nodes[index].path for index in self._sensitive}
        rows = [
            row
            for row in sorted(said)
            if assigned[row].source != "rule" or assigned[row].category not in guarded
        ]
        fast = self._fast.probabilities([queries[row].text for row in rows])
        shares = (1 - self._weight) * fast
        for position, row in enumerate(rows):
            node, probability = said[row]
            rest = (1 - probability) / max(1, len(self.nodes) - 1)
            slow = np.full(len(self.nodes), rest, dtype=np.float32)
            slow[node] = probability
            shares[position] += self._weight * slow
        joined = list(assigned)
        for row, best in zip(rows, self._best(shares, "slow"), strict=True):
            suspected = {assigned[row].category, *assigned[row].guards} & guarded
            joined[row] = replace(best, guards=tuple(sorted(suspected | set(best.guards))))
        return joined

    def allowed(self, assignment: Assignment) -> frozenset[TierName] | None:
        """Tiers that may see the query: those that its category, and each sensitive one it may belong to, all
        allow. None: all."""
        stated = [self._allowed.get(path) for path in (assignment.category, *assignment.guards)]
        sets = [frozenset(map(TierName, tiers)) for tiers in stated if tiers is not None]
        return frozenset.intersection(*sets) if sets else None

    def _deepest(self, ruled: NDArray[np.bool_], fast: NDArray[np.float32]) -> Assignment:
        """The deepest category a rule names; among equals the most similar. A sensitive one always wins."""
        hit = np.flatnonzero(ruled).tolist()
        matched = [index for index in hit if self.nodes[index].sensitive] or hit
        ranked = sorted(matched, key=lambda index: (-self.nodes[index].path.count("/"), -float(fast[index])))
        branches = {self.nodes[index].path.split("/")[0] for index in matched}
        return Assignment(
            category=self.nodes[ranked[0]].path,
            score=1.0 / len(branches),
            familiar=len(branches) == 1,
            source="rule",
            runner_up=self.nodes[ranked[1]].path if len(ranked) > 1 else "",
            margin=1.0 if len(branches) == 1 else 0.0,
            guards=tuple(
                sorted(self.nodes[index].path for index in ranked[1:] if self.nodes[index].sensitive)
            ),
        )

    def _best(self, shares: NDArray[np.float32], source: Literal["fast", "slow"]) -> list[Assignment]:
        """The category with the largest share, for each row. What the tree has no text for stands at the root."""
        if source == "fast" and not self._described:
            return [ROOT] * len(shares)
        order = np.argsort(-shares, axis=1, kind="stable")[:, :2]
        top = np.take_along_axis(shares, order, axis=1)
        margins = (top[:, 0] - top[:, 1]).tolist() if len(self.nodes) > 1 else [1.0] * len(shares)
        guards = self._near(shares, top[:, 0])
        return [
            Assignment(
                category=self.nodes[ranked[0]].path,
                score=score,
                familiar=margin >= self._margin,
                source=source,
                runner_up=self.nodes[ranked[1]].path if len(ranked) > 1 else "",
                margin=margin,
                guards=near,
            )
            for ranked, score, margin, near in zip(
                order.tolist(), top[:, 0].tolist(), margins, guards, strict=True
            )
        ]

    def _near(self, shares: NDArray[np.float32], best: NDArray[np.float32]) -> list[tuple[str, ...]]:
        """For each row, the sensitive categories that likeness cannot tell from the best; where it finds none at
        all (every share the same) there is no hint."""
        if not self._sensitive:
            return [()] * len(shares)
        theirs = shares[:, self._sensitive]
        near = (theirs >= best[:, None] - self._margin) & (theirs > 1.001 / max(1, self._described))
        paths = [self.nodes[index].path for index in self._sensitive]
        return [tuple(compress(paths, row)) if any(row) else () for row in near.tolist()]


__all__ = ["ROOT", "Node", "Taxonomy"]

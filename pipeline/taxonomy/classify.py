"""Rules, similarity and the slow classifier joined: p = w·p_slow + (1-w)·p_fast."""

from collections.abc import Mapping, Sequence

import numpy as np
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
        self._margin = familiar_margin
        self._weight = slow_weight

    def classify(self, queries: Sequence[Query]) -> list[Assignment]:
        """Rules decide where exactly the deepest matching category is clear; similarity decides the rest."""
        if not queries:
            return []
        ruled = match(self.nodes, queries)
        hits = ruled.sum(axis=1)
        unclear = np.flatnonzero(hits != 1).tolist()
        fast = self._fast.probabilities([queries[row].text for row in unclear])
        assigned = [
            self._only[node] for node in ruled.argmax(axis=1).tolist()
        ]  # right where one rule matches
        for position, row in enumerate(unclear):
            assigned[row] = self._assign(ruled[row], fast[position])
        return assigned

    def with_slow(
        self, queries: Sequence[Query], assigned: Sequence[Assignment], said: Mapping[int, tuple[int, float]]
    ) -> list[Assignment]:
        """Assignments again, with the slow classifier's word (row -> node index, probability) mixed in.
        What a rule called sensitive stays so, whatever a model says."""
        guarded = {node.path for node in self.nodes if node.sensitive}
        rows = [
            row
            for row in sorted(said)
            if assigned[row].source != "rule" or assigned[row].category not in guarded
        ]
        fast = self._fast.probabilities([queries[row].text for row in rows])
        joined = list(assigned)
        for position, row in enumerate(rows):
            node, probability = said[row]
            rest = (1 - probability) / max(1, len(self.nodes) - 1)
            slow = np.full(len(self.nodes), rest, dtype=np.float32)
            slow[node] = probability
            joined[row] = self._best(self._weight * slow + (1 - self._weight) * fast[position], "slow")
        return joined

    def allowed(self, assignment: Assignment) -> frozenset[TierName] | None:
        """Tiers that may see a query of this category; None: all."""
        for node in self.nodes:
            if node.path == assignment.category:
                allowed = node.allowed_tiers
                return None if allowed is None else frozenset(TierName(name) for name in allowed)
        return None

    def _assign(self, ruled: NDArray[np.bool_], fast: NDArray[np.float32]) -> Assignment:
        matched = [index for index, hit in enumerate(ruled) if hit]
        guarded = [index for index in matched if self.nodes[index].sensitive]
        if chosen := self._deepest(guarded or matched, fast):
            return chosen
        return self._best(fast, "fast") if fast.max() > 0 and any(node.texts for node in self.nodes) else ROOT

    def _deepest(self, matched: list[int], fast: NDArray[np.float32]) -> Assignment | None:
        """The deepest category a rule names; among equals the most similar. A sensitive one always wins."""
        if not matched:
            return None
        ranked = sorted(matched, key=lambda index: (-self.nodes[index].path.count("/"), -float(fast[index])))
        branches = {self.nodes[index].path.split("/")[0] for index in matched}
        return Assignment(
            category=self.nodes[ranked[0]].path,
            score=1.0 / len(branches),
            familiar=len(branches) == 1,
            source="rule",
            runner_up=self.nodes[ranked[1]].path if len(ranked) > 1 else "",
            margin=1.0 if len(branches) == 1 else 0.0,
        )

    def _best(self, shares: NDArray[np.float32], source: str) -> Assignment:
        order = np.argsort(-shares, kind="stable")
        margin = float(shares[order[0]] - shares[order[1]]) if len(order) > 1 else 1.0
        return Assignment(
            category=self.nodes[order[0]].path,
            score=float(shares[order[0]]),
            familiar=margin >= self._margin,
            source="slow" if source == "slow" else "fast",
            runner_up=self.nodes[order[1]].path if len(order) > 1 else "",
            margin=margin,
        )


__all__ = ["ROOT", "Node", "Taxonomy"]

"""Categories of recorded outcomes by a taxonomy, where the file records none, or others than those wanted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from pipeline.features.hashing import HashingEncoder
from pipeline.replay.outcomes import Outcomes
from pipeline.taxonomy.classify import Taxonomy
from schemas.errors import InputError
from schemas.ids import QueryId
from schemas.records import Query
from schemas.taxonomy import TaxonomySpec


def categorised(outcomes: Outcomes, tree: Path) -> Outcomes:
    """The outcomes with the categories a job with this tree would route by, without the slow classifier."""
    taxonomy = Taxonomy(_read(tree), HashingEncoder(), familiar_margin=0.0, slow_weight=0.0)
    queries = [Query(query_id=QueryId(str(row)), text=text) for row, text in enumerate(outcomes.texts)]
    numbers = {node.path: number for number, node in enumerate(taxonomy.nodes)}
    found = [numbers.get(assignment.category, -1) for assignment in taxonomy.classify(queries)]
    observed = replace(outcomes.observed, category=np.array(found, dtype=np.intp))
    return replace(outcomes, observed=observed, categories=tuple(numbers))


def _read(tree: Path) -> TaxonomySpec:
    """Raises InputError where it is no taxonomy."""
    try:
        return TaxonomySpec.model_validate(yaml.safe_load(tree.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(path=str(tree), why=f"it is no taxonomy: {error}") from None

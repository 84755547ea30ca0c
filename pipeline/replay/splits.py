"""Which rows a method is fitted on, and which it is judged on."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.router.observed import Observed, Rows

FOLDS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    fitting: Observed
    rows: Rows  # of the outcomes: judged here, unseen in fitting
    audited: Rows  # positions in `rows` that every model is asked on, paid for and used to choose


def fold_splits(observed: Observed, clusters: Rows, audit: int, seed: int) -> Iterator[Split]:
    """Five folds by text cluster; of `audit` labels each fold gets its share."""
    rng = np.random.default_rng(seed)
    fold = (rng.permutation(clusters.max() + 1) % FOLDS)[clusters]
    for number in range(FOLDS):
        rows = np.flatnonzero(fold == number)
        share = round(audit * len(rows) / len(observed))
        yield Split(
            fitting=observed.take(np.flatnonzero(fold != number)),
            rows=rows,
            audited=rng.permutation(len(rows))[:share],
        )


def fitted_elsewhere(fitting: Observed, count: int, audit: int, seed: int) -> Iterator[Split]:
    """One split: all `count` rows, judged by fits on other outcomes."""
    drawn = np.random.default_rng(seed).permutation(count)[:audit]
    yield Split(fitting=fitting, rows=np.arange(count), audited=drawn)


def clusters_of(texts: Sequence[str]) -> Rows:
    """[n] number of each text's cluster: texts that are equal but for case, spacing and punctuation share one,
    so that no split has a query on both its sides."""
    known: dict[str, int] = {}
    plain = (" ".join(re.findall(r"\w+", text.casefold())) for text in texts)
    return np.array([known.setdefault(text, len(known)) for text in plain], dtype=np.intp)

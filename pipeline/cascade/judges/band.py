"""Where a judge that costs money is worth asking."""

from pipeline.ports.judge import Case


def undecided(case: Case, band: float | None) -> bool:
    """Whether P(correct) so far is so near the threshold that one more voice may tip it. A band of None: always, also
    where the answer stands anyway."""
    return band is None or (case.needed > 0 and abs(case.outlook - case.needed) <= band)

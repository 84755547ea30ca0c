import pytest

from pipeline.certify.bounds import most_missing
from pipeline.certify.size import audit_size


def test_larger_jobs_are_worth_a_larger_audit_but_a_smaller_share() -> None:
    sizes = [audit_size(population, 0.9, 0.05) for population in (300, 1000, 5000, 20_000, 1_000_000)]
    assert sizes == sorted(sizes)
    shares = [
        size / population
        for size, population in zip(sizes, (300, 1000, 5000, 20_000, 1_000_000), strict=True)
    ]
    assert shares == sorted(shares, reverse=True)
    assert 80 < sizes[1] < 200


@pytest.mark.parametrize("target", [0.5, 0.9, 0.99])
def test_an_audit_can_certify_something(target: float) -> None:
    size = audit_size(2000, target, 0.05)
    assert most_missing(size, 2000, target, 0.05) >= 0


def test_where_all_has_to_agree_all_is_asked() -> None:
    assert audit_size(50, 1.0, 0.05) == 50
    assert audit_size(3, 0.9, 0.05) == 3

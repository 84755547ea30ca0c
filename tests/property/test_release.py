"""Released money was never billed: whatever was billed, the ledger's charge stays above it and below the holds."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.reconcile.release import plan
from schemas.money import Price, Usage
from tests.usage import asked, billed, compared, export, ours, presumed

rates = st.integers(0, 5000)
prices = st.builds(
    Price, input=rates, cached_input=rates, cache_write=rates, output=rates, reasoning=rates,
    request=st.sampled_from([0, 0, 7000]), denominator=st.integers(1, 9),
)  # fmt: skip
counts = st.integers(0, 3000)
usages = st.builds(Usage, input=counts, cached_input=counts, output=counts)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    price=prices,
    settled=usages,
    calls=st.lists(st.tuples(usages, st.integers(0, 10**6), st.booleans()), min_size=1, max_size=8),
    others=st.just(Usage()) | usages,
    told=st.booleans(),
)
def test_the_charge_stays_between_the_bill_and_the_holds(
    price: Price, settled: Usage, calls: list[tuple[Usage, int, bool]], others: Usage, told: bool
) -> None:
    # Given settled calls, presumed ones of which some were billed at no more than their holds, and other users
    unknown = [presumed(number, price.cost(used) + spare) for number, (used, spare, _) in enumerate(calls)]
    truth = [settled, others, *(used for used, _, was_billed in calls if was_billed)]
    tokens = {
        name: sum(getattr(each, name) for each in truth) for name in ("input", "cached_input", "output")
    }
    requests = len(truth) - (others == Usage())
    us = ours([asked(usage=settled, price=price)], unknown, prices=(price,))
    them = export(billed(tokens=tokens, requests=requests if told else None))
    # When it is reconciled
    (found,) = plan(compared(us, them), us)
    # Then what stays charged is no less than what these calls were billed, and no call is above its hold
    bill = sum(price.cost(used) for used, _, was_billed in calls if was_billed)
    holds = sum(call.cost for call in unknown)
    slack = len(calls)  # the provider's sum is not rounded call by call
    if found.shares:
        assert {share.call.call_id for share in found.shares} == {call.call_id for call in unknown}
        assert all(0 <= share.cost <= share.call.held for share in found.shares)
        assert holds - found.released >= bill - slack
    else:
        assert found.kept
        assert found.released == 0

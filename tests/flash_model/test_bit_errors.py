"""The raw bit error rate at points where the formula has a value one can say."""

import pytest

from flash_model.bit_errors import BitErrorRate

DAY = 86_400
RATE = BitErrorRate(erases=3000, fresh=1e-6, worn=1e-4, kept=4e-3, disturbed=1e-5)


@pytest.mark.parametrize(
    "erases,kept_s,reads,level,expected",
    [
        (0, 0, 0, 0, 1e-6),
        (3000, 0, 0, 0, 1e-6 + 1e-4),
        (1500, 0, 0, 0, 1e-6 + 0.25e-4),  # wear is quadratic
        (3000, 365 * DAY, 0, 0, 1e-6 + 1e-4 + 4e-3),
        (0, 365 * DAY, 0, 0, 1e-6),  # a new block leaks nothing
        (0, 0, 100_000, 0, 1e-6 + 1e-5),
        (3000, 0, 50_000, 0, 1e-6 + 1e-4 + 1e-5),
        (3000, 365 * DAY, 0, 7, 1e-6 + 1e-4 + 4e-3 / 4**7),
        (3000, 365 * DAY, 0, 6, 1e-6 + 1e-4 + 4e-3 / 4**6),
        # (1 + d)^2 = 366: half of the logarithm, the best level is round(3.5) = 4
        (3000, (366**0.5 - 1) * DAY, 0, 0, 1e-6 + 1e-4 + 2e-3),
        (3000, (366**0.5 - 1) * DAY, 0, 4, 1e-6 + 1e-4 + 2e-3 / 4**4),
        (3000, (366**0.5 - 1) * DAY, 0, 6, 1e-6 + 1e-4 + 2e-3 / 4**2),
    ],
)
def test_rates(erases, kept_s, reads, level, expected):
    assert RATE(erases, kept_s, reads, level) == pytest.approx(expected, rel=1e-9)


def test_more_of_anything_is_worse():
    for wear in (100, 1000, 2500):
        for days in (1, 30, 300):
            base = RATE(wear, days * DAY, 1000)
            assert base < RATE(wear + 100, days * DAY, 1000)
            assert base < RATE(wear, (days + 1) * DAY, 1000)
            assert base < RATE(wear, days * DAY, 2000)


def test_the_best_level_has_the_fewest_errors():
    for days in (0, 1, 10, 100, 1000):
        rates = [RATE(2500, days * DAY, 0, level) for level in range(8)]
        assert rates.index(min(rates)) == RATE.best_level(2500, days * DAY)


def test_the_rate_has_an_upper_bound():
    assert RATE(10**9, 0, 0) == 0.5


@pytest.mark.parametrize("change", [{"erases": 0}, {"fresh": -1e-9}, {"kept": 0.6}])
def test_impossible_rates_are_refused(change):
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=f"{name} = {value}"):
        BitErrorRate(**{"erases": 1, **change})

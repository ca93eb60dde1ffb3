"""Channels that share a decoder, as Verilog, against the twin; the rate that each of them keeps.

Run with ``-s`` for the figures.
"""

import numpy as np
import pytest

from cosim.stream_lane import StreamLane
from rtl.ecc import twin
from rtl.ecc.chien import fix_layout
from rtl.ecc.code import BchCode
from rtl.ecc.few_errors import FewErrors
from rtl.ecc.key_equation import locator_layout
from rtl.ecc.shared_rates import shared_latency, shared_sizes_for
from tests.rtl.ecc.compiled import halves, whole
from tests.rtl.ecc.patterns import flip, inject, messages
from tests.rtl.ecc.shared_bench import SharedChannels

WARM_UP = 1 << 14
"""Clocks in which the tables of logarithms fill, at most."""


def shared_lane(code, sizes, channels):
    return StreamLane(
        SharedChannels(code, lanes=sizes.lanes, positions=sizes.positions, channels=channels),
        "shared_channels",
    )


def run(lane, code, received, **pauses):
    """Codewords of each channel through the lane; its traffic, after everything is compared."""
    inputs = {f"i_{n}": halves(mine) for n, mine in enumerate(received)}
    outputs = {}
    for n, mine in enumerate(received):
        outputs |= {f"o_{n}": len(mine) * code.message_words, f"o_reports_{n}": len(mine)}
    traffic, _ = lane.run(inputs, outputs, **pauses)
    bits = code.t.bit_length()
    for n, mine in enumerate(received):
        message, corrected, bad = twin.decode(code, mine)
        reports = traffic[f"o_reports_{n}"].payloads[:, 0]
        assert np.array_equal(whole(traffic[f"o_{n}"].payloads, code.message_words), message)
        assert np.array_equal(reports & (1 << bits) - 1, corrected)
        assert np.array_equal(reports >> bits != 0, bad)
    return traffic


@pytest.mark.parametrize("pauses", [{}, {"stall": 0.3, "backpressure": 0.4}])
@pytest.mark.parametrize("rng_seed", [1, 2])
def test_any_number_of_errors_in_every_channel(pauses, rng_seed):
    """Up to t and above; one channel is without errors, one has none but hard codewords."""
    code, rng, channels, count = BchCode(512, 4), np.random.default_rng(rng_seed), 4, 300
    lane = shared_lane(code, shared_sizes_for(code, 1e-4, channels=channels), channels)
    counts = [rng.integers(0, code.t + 3, count) for _ in range(channels)]
    counts[1][:], counts[2][:] = 0, rng.integers(3, 7, count)
    received = [inject(rng, code, mine)[1] for mine in counts]
    run(lane, code, received, seed=rng_seed, **pauses)


def test_a_channel_that_nobody_takes_from_holds_up_no_other():
    code, rng, channels, count = BchCode(512, 4), np.random.default_rng(5), 4, 200
    lane = shared_lane(code, shared_sizes_for(code, 1e-4, channels=channels), channels)
    received = [inject(rng, code, rng.integers(0, 3, count))[1] for _ in range(channels)]
    free = run(lane, code, received)
    slow = run(lane, code, received, backpressure={"o_0": 0.9})
    assert slow["o_0"].last > 3 * free["o_0"].last
    for n in range(1, channels):
        assert slow[f"o_{n}"].last < 1.1 * free[f"o_{n}"].last


def test_latency():
    """Of the last of many codewords, once the tables are full, by the clocks of the units."""
    code, rng = BchCode(512, 5), np.random.default_rng(2)
    sizes = shared_sizes_for(code, 1e-4, channels=4)
    lane = shared_lane(code, sizes, 4)
    nothing = np.zeros((0, code.words), np.uint64)
    for errors in range(code.t + 1):
        received = twin.encode(code, messages(rng, code, 1 + WARM_UP // code.words))
        slots = rng.choice(code.bits // 2, errors, replace=False)
        flip(received, -1, slots)
        traffic = run(lane, code, [received, nothing, nothing, nothing])
        clocks = traffic["o_0"].last - traffic["i_0"].last
        assert clocks + code.words - code.message_words == shared_latency(
            code, sizes.lanes, sizes.positions, errors, max(slots, default=None)
        )


def check_rate(code, rate, channels, count, seed):
    """A word of every channel in 1.43 clocks, at the bit error rate that it is built for."""
    rng = np.random.default_rng(seed)
    sizes = shared_sizes_for(code, rate, channels=channels, word_clocks=1 / 0.7)
    counts = rng.binomial(code.bits, rate, (channels, count))
    counts[:, : WARM_UP // code.words] = 0
    pairs = [inject(rng, code, mine) for mine in counts]
    lane = shared_lane(code, sizes, channels)
    clean, wrong = (run(lane, code, words, stall=0.3, seed=seed) for words in zip(*pairs))
    kept = [clean[f"o_{n}"].last / wrong[f"o_{n}"].last for n in range(channels)]
    print(f"\n{code} x {channels}, {sizes}: {min(kept):.3f} kept")
    assert min(kept) > sizes.rate - 0.01


def test_every_channel_keeps_its_rate():
    check_rate(BchCode(512, 5), 1e-4, 4, 2000, 3)


@pytest.mark.soak
@pytest.mark.parametrize("t", [8, 12, 16])
def test_eight_channels_keep_their_rate(t):
    check_rate(BchCode(1024, t), 1e-4, 8, 1500, t)


def locators(code, odd):
    """Locators of syndromes as the lane's payloads, for those of few errors."""
    locator, errors, failed = twin.key_equation(code, odd)
    layout = locator_layout(code)
    out = np.zeros((len(odd), -(-layout.size // 32)), np.uint32)
    for row, fields in enumerate(zip(locator.tolist(), errors.tolist(), failed.tolist())):
        value = sum(element << code.m * j for j, element in enumerate(fields[0]))
        value |= fields[1] << layout["errors"].offset | fields[2] << layout["failed"].offset
        out[row] = [value >> 32 * n & 0xFFFF_FFFF for n in range(out.shape[1])]
    return out, locator, errors, failed


@pytest.mark.parametrize("data_bytes", [512, 1024])
@pytest.mark.parametrize("rng_seed", [1, 2])
def test_places_of_one_and_two_errors(data_bytes, rng_seed):
    """Of random codewords, and of random syndromes, of which most have no such places."""
    code, rng = BchCode(data_bytes, 2), np.random.default_rng(rng_seed)
    _, received = inject(rng, code, rng.integers(1, 3, 1500))
    random = rng.integers(1, 1 << code.m, (1500, 2), np.int32)
    near = random.copy()
    near[:, 1] = code.field.multiply(near[:, 0], code.field.multiply(near[:, 0], near[:, 0]))
    odd = np.concatenate([twin.syndromes(code, received), random, near])
    payloads, *solved = locators(code, odd)
    wanted = []
    for locator, errors, failed in zip(*solved):
        slots = [] if failed else twin.roots(code, locator, errors).tolist()
        good = not failed and len(slots) == errors
        words = sorted({slot // 64 for slot in slots}) if good else [0]
        for word in words:
            mask = sum(1 << slot % 64 for slot in slots if slot // 64 == word) if good else 0
            last = word == words[-1]
            wanted.append(
                (word, mask * (word < code.message_words), last, last * good * len(slots), not good)
            )
    lane = StreamLane(FewErrors(code), "few_errors")
    traffic, _ = lane.run({"i": payloads}, {"o": len(wanted)}, stall=0.2, backpressure=0.3)
    layout = fix_layout(code)
    for fix, (word, mask, last, corrected, bad) in zip(traffic["o"].payloads, wanted, strict=True):
        got = layout.from_bits(sum(int(part) << 32 * n for n, part in enumerate(fix)))
        assert (got.mask, got.last) == (mask, last)
        assert not mask or got.word == word
        assert not last or (got.corrected, got.uncorrectable) == (corrected, bad)
    assert 1000 < sum(bad for *_, bad in wanted) < 3000

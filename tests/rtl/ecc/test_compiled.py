"""Encoder and decoder as Verilog, over many codewords, against the twin; the rate kept.

Run with ``-s`` for the figures.
"""

import numpy as np
import pytest

from cosim.stream_lane import StreamLane
from rtl.config import PRESETS, DriveConfig
from rtl.ecc import twin
from rtl.ecc.code import BchCode
from rtl.ecc.encoder import Encoder
from rtl.ecc.rates import latency, sizes_for
from tests.rtl.ecc.compiled import decode, decoder_lane, halves, whole
from tests.rtl.ecc.patterns import flip, inject, messages


def check(lane, code, received, **pauses):
    got, corrected, bad, words = decode(lane, code, received, **pauses)
    judge, judge_corrected, judge_bad = twin.decode(code, received)
    assert np.array_equal(got, judge)
    assert np.array_equal(corrected, judge_corrected)
    assert np.array_equal(bad, judge_bad)
    return got, bad, words


def check_code(code, rate, count, seed):
    """Encode and decode; the decoder is built for a raw bit error rate."""
    rng = np.random.default_rng(seed)
    message = messages(rng, code, count)
    encoder = StreamLane(Encoder(code), "encoder")
    for pause in (0, 0.3):
        traffic, clocks = encoder.run(
            {"i": halves(message)}, {"o": count * code.words}, stall=pause, backpressure=pause
        )
        assert np.array_equal(whole(traffic["o"].payloads, code.words), twin.encode(code, message))
        assert pause or traffic["o"].last - traffic["o"].first == count * code.words - 1

    sizes = sizes_for(code, rate)
    lane = decoder_lane(code, sizes)
    counts = rng.integers(0, code.t + 4, count)
    sent, received = inject(rng, code, counts)
    for pauses in ({}, {"stall": 0.3, "backpressure": 0.3, "seed": seed}):
        got, bad, _ = check(lane, code, received, **pauses)
        good = counts <= code.t
        assert np.array_equal(got[good], sent[good][:, : code.message_words])
        assert not bad[good].any()

    sent, received = inject(rng, code, rng.binomial(code.bits, rate, count))
    got, bad, words = check(lane, code, received)
    kept = (count - 1) * code.words / (words.last - words.first - code.message_words + 1)
    print(f"\n{code}: {count} codewords at a bit error rate of {rate}: {100 * kept:.1f} % of line")
    assert kept == pytest.approx(sizes.rate, abs=0.015)


def test_a_thousand_codewords():
    check_code(BchCode(512, 3), 3e-5, 1000, 20261124)


@pytest.mark.parametrize("preset", PRESETS)
def test_latency(preset):
    """From the first word in to the first word out, by the clocks of the units."""
    config, rng = DriveConfig.preset(preset), np.random.default_rng(9)
    code, sizes = config.code, config.decoder_sizes
    lane = decoder_lane(code, sizes)
    for errors in (0, 1, 2, code.t - 1, code.t):
        for most in (code.bits, 700):
            slots = rng.choice(most, errors, replace=False)
            received = twin.encode(code, messages(rng, code, 1))
            flip(received, 0, slots)
            traffic, _ = lane.run(
                {"i": halves(received)}, {"o": code.message_words, "o_reports": 1}
            )
            assert traffic["o"].first - traffic["i"].first == latency(
                code, sizes.lanes, sizes.positions, errors, max(slots, default=None)
            )


@pytest.mark.soak
@pytest.mark.parametrize("data_bytes, t", [(512, 8), (512, 29), (1024, 27), (1024, 40), (1024, 59)])
def test_long_codes(data_bytes, t):
    check_code(BchCode(data_bytes, t), 1e-3, 2000, t)


@pytest.mark.soak
@pytest.mark.parametrize("t", [2, 3, 4])
def test_miscorrections_are_those_of_the_twin(t):
    """One error too many: uncorrectable or another codeword, the same as in the twin."""
    code, rng = BchCode(512, t), np.random.default_rng(t)
    _, received = inject(rng, code, np.full(10_000, t + 1))
    _, bad, _ = check(decoder_lane(code, sizes_for(code, 1e-4)), code, received)
    print(f"\nt = {t}: {100 * (1 - bad.mean()):.2f} % of {t + 1} errors miscorrected")
    assert 0 < (~bad).sum() < 4000

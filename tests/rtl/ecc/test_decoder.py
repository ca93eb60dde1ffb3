"""Decoder: known errors, stalls and backpressure, too many errors, rate."""

import numpy as np
import pytest

from rtl.ecc import twin
from rtl.ecc.code import BchCode
from rtl.ecc.corrector import Corrector
from rtl.ecc.decoder import Decoder
from tests.rtl.ecc.patterns import flip, inject, rows, words
from tests.rtl.streams_bench import CROSS, Bench


def decode(code, received, *, lanes, positions, **pauses):
    dut = Decoder(code, lanes=lanes, positions=positions)
    bench = Bench(dut, timeout=120_000, **pauses)
    bench.source(dut.i, words(received))
    out = bench.sink(dut.o)
    reports = bench.sink(dut.o_reports)
    count = len(received)
    bench.run(
        lambda: len(out.items) >= count * code.message_words and len(reports.items) >= count,
        idle=30,
    )
    corrected = [report["corrected"] for report in reports.items]
    bad = [bool(report["uncorrectable"]) for report in reports.items]
    return rows(out.items, code.message_words), corrected, bad, (out, reports)


@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_up_to_t_errors_and_above(stall, backpressure):
    code, rng = BchCode(512, 3), np.random.default_rng(11)
    counts = [0, 3, 1, 0, 5, 2, 4, 3]
    sent, received = inject(rng, code, counts)
    pauses = {"stall": stall, "backpressure": backpressure}
    got, corrected, bad, _ = decode(code, received, lanes=2, positions=16, **pauses)
    judge, judge_corrected, judge_bad = twin.decode(code, received)
    assert np.array_equal(got, judge)
    assert corrected == judge_corrected.tolist() and bad == judge_bad.tolist()
    good = np.array(counts) <= code.t
    assert np.array_equal(got[good], sent[good][:, : code.message_words])


def test_words_of_several_errors_and_of_parity_alone():
    code = BchCode(512, 5)
    sent, received = inject(np.random.default_rng(2), code, [0] * 5)
    patterns = [
        [0, 1, 62, 63, 64],
        [4096, 4159, 4160, 4161],
        range(code.bits - 5, code.bits),
        [],
        [4150],
    ]
    for row, slots in enumerate(patterns):
        flip(received, row, slots)
    got, corrected, bad, _ = decode(code, received, lanes=4, positions=16)
    assert np.array_equal(got, sent[:, : code.message_words])
    assert corrected == [len(slots) for slots in patterns] and not any(bad)


def test_no_bubble_without_errors():
    code = BchCode(512, 3)
    sent, received = inject(np.random.default_rng(3), code, [0] * 12)
    got, *_, (out, _) = decode(code, received, lanes=1, positions=8)
    assert np.array_equal(got, sent[:, : code.message_words])
    starts = out.clocks[:: code.message_words]
    assert set(np.diff(starts)) == {code.words}  # as they come in
    assert out.clocks[code.message_words - 1] - starts[0] == code.message_words - 1
    assert starts[0] <= code.words + 12


def test_line_rate_with_errors_in_every_codeword():
    code, rng = BchCode(512, 2), np.random.default_rng(4)
    sent, received = inject(rng, code, rng.integers(1, 3, 10))
    got, *_, (out, _) = decode(code, received, lanes=2, positions=64)
    assert np.array_equal(got, sent[:, : code.message_words])
    starts = out.clocks[:: code.message_words]
    assert starts[-1] - starts[2] <= (len(starts) - 3) * code.words + code.words // 2


@pytest.mark.parametrize("codewords", [1, 16])
def test_impossible_buffers_are_refused(codewords):
    with pytest.raises(ValueError, match="choose 2..15"):
        Corrector(BchCode(512, 4), codewords=codewords)

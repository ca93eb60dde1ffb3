"""Encoder against the twin: same words, same parity, a word every clock."""

import numpy as np
import pytest

from rtl.ecc import twin
from rtl.ecc.code import BchCode
from rtl.ecc.encoder import Encoder
from tests.rtl.ecc.patterns import messages, rows, words
from tests.rtl.streams_bench import CROSS, Bench


def encode(code, message, **pauses):
    dut = Encoder(code)
    bench = Bench(dut, timeout=20 * message.size + 400, **pauses)
    bench.source(dut.i, words(message))
    out = bench.sink(dut.o)
    bench.run(lambda: len(out.items) >= len(message) * code.words, idle=20)
    return rows(out.items, code.words), out


@pytest.mark.parametrize("stall, backpressure", CROSS)
@pytest.mark.parametrize("data_bytes, t", [(512, 2), (512, 8)])
def test_codewords(data_bytes, t, stall, backpressure):
    code = BchCode(data_bytes, t)
    message = messages(np.random.default_rng(t), code, 4)
    got, _ = encode(code, message, stall=stall, backpressure=backpressure)
    assert np.array_equal(got, twin.encode(code, message))


@pytest.mark.parametrize("data_bytes, t", [(512, 8), (1024, 16)])
def test_many_codewords_back_to_back(data_bytes, t):
    code = BchCode(data_bytes, t)
    message = messages(np.random.default_rng(t), code, 20)
    message[0] = 0
    message[1] = 2**64 - 1
    got, out = encode(code, message)
    assert np.array_equal(got, twin.encode(code, message))
    assert out.clocks[-1] - out.clocks[0] == 20 * code.words - 1
    assert out.clocks[0] == 1

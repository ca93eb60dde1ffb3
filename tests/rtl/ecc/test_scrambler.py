"""Scrambler: the sequence against its recurrence, balance, unlike seeds, there and back."""

import numpy as np
import pytest

from rtl.ecc.scrambler import SEED_BITS, Scrambler, keystream, seed
from tests.rtl.ecc.patterns import words
from tests.rtl.streams_bench import CROSS, Bench

PRIMES = (3, 5, 17, 257, 641, 65537, 6700417)
"""Of 2**64 - 1."""


def bits(array):
    return np.unpackbits(np.ascontiguousarray(array).view(np.uint8), axis=1, bitorder="little")


def test_the_polynomial_is_primitive():
    def multiply(a, b):
        product = 0
        while b:
            if b & 1:
                product ^= a
            a, b = a << 1, b >> 1
            if a >> 64:
                a ^= 1 << 64 | 0b11011
        return product

    def power(exponent):
        result, square = 1, 2
        while exponent:
            if exponent & 1:
                result = multiply(result, square)
            square, exponent = multiply(square, square), exponent >> 1
        return result

    assert np.prod(PRIMES, dtype=object) == 2**64 - 1
    assert power(2**64 - 1) == 1
    assert all(power((2**64 - 1) // prime) != 1 for prime in PRIMES)


def test_sequence_follows_its_recurrence():
    s = bits(keystream([0, 1, 2**32 - 1], 40))
    assert np.array_equal(s[:, 64:], s[:, :-64] ^ s[:, 1:-63] ^ s[:, 3:-61] ^ s[:, 4:-60])


def test_balanced_and_unlike_for_neighbours():
    rows = np.arange(400)
    s = bits(keystream([seed(int(row), 0) for row in rows], 64)).astype(int)
    deviation = np.abs(s.mean(axis=1) - 0.5) * 2 * np.sqrt(s.shape[1])
    assert deviation.max() < 5  # of a fair coin's standard deviation
    unlike = (s[1:] ^ s[:-1]).mean(axis=1)
    assert np.abs(unlike - 0.5).max() * 2 * np.sqrt(s.shape[1]) < 5
    first = (s[1:, :64] ^ s[:-1, :64]).sum(axis=1)
    assert first.min() >= 12


@pytest.mark.parametrize("stall, backpressure", CROSS)
@pytest.mark.parametrize("size", [1, 33])
def test_scrambles(size, stall, backpressure):
    rng = np.random.default_rng(size)
    data = rng.integers(0, 1 << 64, (9, size), np.uint64)
    seeds = [0, *(int(n) for n in rng.integers(0, 1 << SEED_BITS, 8))]
    dut = Scrambler(size)
    bench = Bench(dut, stall=stall, backpressure=backpressure)
    bench.source(dut.i, words(data))
    bench.source(dut.i_seeds, seeds)
    out = bench.sink(dut.o)
    bench.run(lambda: len(out.items) >= data.size, idle=20)
    assert out.items == words(data ^ keystream(seeds, size))
    if not stall and not backpressure:
        assert out.clocks[-1] - out.clocks[0] == data.size - 1


@pytest.mark.parametrize("row, codeword", [(1 << 24, 0), (0, 256), (-1, 0)])
def test_impossible_places_have_no_seed(row, codeword):
    with pytest.raises(ValueError, match="choose rows below"):
        seed(row, codeword)


def test_no_words_are_refused():
    with pytest.raises(ValueError, match="choose 1 or more"):
        Scrambler(0)

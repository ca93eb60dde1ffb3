"""Typed values against plain Python integers: results and ranges, exhaustively on small types."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from hls_attention.expressions import (
    absolute,
    clamp,
    concat,
    lookup,
    maximum,
    minimum,
    mux,
    round_shift,
    shift_to_top,
)
from hls_attention.hls import Int, bits, kernel, signed

TABLE = [math.isqrt(1000 * i) for i in range(16)]

BINARY = {
    "add": (lambda a, b: a + b, lambda a, b: a + b),
    "add constant": (lambda a, b: 5 + a, lambda a, b: a + 5),
    "sub": (lambda a, b: a - b, lambda a, b: a - b),
    "sub from constant": (lambda a, b: 9 - a, lambda a, b: 9 - a),
    "mul": (lambda a, b: a * b, lambda a, b: a * b),
    "negate": (lambda a, b: -a, lambda a, b: -a),
    "shl": (lambda a, b: a << 3, lambda a, b: a * 8),
    "shr": (lambda a, b: a >> 2, lambda a, b: math.floor(Fraction(a, 4))),
    "minimum": (minimum, min),
    "maximum": (maximum, max),
    "absolute": (lambda a, b: absolute(a), lambda a, b: abs(a)),
    "clamp": (lambda a, b: clamp(a, -3, 2), lambda a, b: min(max(a, -3), 2)),
}

FLAGS = {
    "lt": (lambda a, b: a < b, lambda a, b: a < b),
    "le": (lambda a, b: a <= b, lambda a, b: a <= b),
    "gt": (lambda a, b: a > b, lambda a, b: a > b),
    "ge": (lambda a, b: a >= b, lambda a, b: a >= b),
    "eq": (lambda a, b: a == b, lambda a, b: a == b),
    "ne": (lambda a, b: a != b, lambda a, b: a != b),
    "negative": (lambda a, b: a < 0, lambda a, b: a < 0),
}

TYPES = [
    (signed(4), signed(3)),
    (bits(4), signed(4)),
    (signed(3), bits(4)),
    (bits(3), bits(5)),
    (Int(3, 9), Int(-7, -2)),
]


def run(function, a, b):
    """A function of two typed inputs, on all pairs: (pairs, results, type of the result)."""
    types = []

    def traced(a, b):
        value = function(a, b)
        types.append(value.type)
        return {"y": value}

    traced_kernel = kernel(inputs={"a": a, "b": b}, outputs={"y": signed(64)})(traced)
    pairs = list(itertools.product(range(a.lo, a.hi + 1), range(b.lo, b.hi + 1)))
    y = traced_kernel.numpy(a=[a for a, _ in pairs], b=[b for _, b in pairs])["y"]
    return pairs, np.broadcast_to(y, len(pairs)).tolist(), types[0]


@pytest.mark.parametrize("types", TYPES, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_results_and_exact_ranges(name, types):
    function, expected = BINARY[name]
    pairs, results, result_type = run(function, *types)
    assert results == [expected(a, b) for a, b in pairs]
    assert (result_type.lo, result_type.hi) == (min(results), max(results))


@pytest.mark.parametrize("types", TYPES, ids=str)
@pytest.mark.parametrize("name", FLAGS)
def test_comparisons(name, types):
    function, expected = FLAGS[name]
    pairs, results, result_type = run(function, *types)
    assert results == [int(expected(a, b)) for a, b in pairs]
    assert bits(1).contains(result_type)


@pytest.mark.parametrize("a", [signed(9), bits(7), Int(-300, 5)], ids=str)
@pytest.mark.parametrize("most", [1, 7, 13, 63])
def test_variable_shifts(a, most):
    amount = Int(0, most)
    pairs, results, result_type = run(lambda a, n: a >> n, a, amount)
    assert results == [math.floor(Fraction(a, 1 << n)) for a, n in pairs]
    assert result_type.lo <= min(results) and max(results) <= result_type.hi
    pairs, results, _ = run(round_shift, a, amount)
    assert results == [math.floor(Fraction(a, 1 << n) + Fraction(1, 2)) for a, n in pairs]
    if most < 50:
        pairs, results, result_type = run(lambda a, n: a << n, a, amount)
        assert results == [a << n for a, n in pairs]
        assert (result_type.lo, result_type.hi) == (min(results), max(results))


def test_bits_of_twos_complement():
    pairs, results, _ = run(lambda a, b: a[1:4], signed(6), bits(1))
    assert results == [(a >> 1) % 8 for a, _ in pairs]
    pairs, results, _ = run(lambda a, b: concat(b, a[2]), bits(4), bits(2))
    assert results == [b + 4 * (a >> 2 & 1) for a, b in pairs]


def test_logic():
    expected = {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}
    for function in expected.values():
        pairs, results, _ = run(function, bits(4), bits(3))
        assert results == [function(a, b) for a, b in pairs]
    pairs, results, _ = run(lambda a, b: ~a, bits(4), bits(1))
    assert results == [15 - a for a, _ in pairs]


def test_mux_and_lookup():
    pairs, results, _ = run(lambda a, b: mux(b, lookup(a, TABLE), a - 20), bits(4), bits(1))
    assert results == [TABLE[a] if b else a - 20 for a, b in pairs]


@pytest.mark.parametrize("width", [2, 5, 8, 9])
def test_shift_to_top(width):
    pairs, results, _ = run(lambda a, b: shift_to_top(a, width)[0], bits(width), bits(1))
    assert results == [a << width - a.bit_length() if a else 0 for a, _ in pairs]
    pairs, results, _ = run(lambda a, b: shift_to_top(a, width)[1], Int(1, 2**width - 1), bits(1))
    assert results == [width - a.bit_length() for a, _ in pairs]


@pytest.mark.parametrize("widths", [(36, 26), (25, 18), (25, 24), (40, 22), (10, 50)])
def test_products_beyond_one_multiplier(widths):
    a, b = signed(widths[0]), bits(widths[1])
    wide = kernel(inputs={"a": a, "b": b}, outputs={"y": signed(64)})(lambda a, b: {"y": a * b})
    rng = np.random.default_rng(7)
    pairs = [(int(rng.integers(a.lo, a.hi)), int(rng.integers(b.lo, b.hi))) for _ in range(200)]
    pairs += itertools.product((a.lo, a.hi, 0, -1), (b.lo, b.hi))
    y = wide.numpy(a=[a for a, _ in pairs], b=[b for _, b in pairs])["y"]
    assert y.tolist() == [a * b for a, b in pairs]
    for node in wide.nodes:
        if node.op == "mul":
            narrow, long = sorted(arg.width + (not arg.type.signed) for arg in node.args)
            assert narrow <= 18 and long <= 25


def test_inputs_broadcast():
    outer = kernel(inputs={"a": bits(8), "b": bits(8)}, outputs={"y": bits(16)})(
        lambda a, b: {"y": a * b}
    )
    y = outer.numpy(a=np.arange(5)[:, None], b=np.arange(7))["y"]
    assert np.array_equal(y, np.multiply.outer(np.arange(5), np.arange(7)))


def test_equal_subexpressions_are_one():
    twice = kernel(inputs={"a": bits(4)}, outputs={"y": bits(9)})(lambda a: {"y": a * a + a * a})
    assert [node.op for node in twice.nodes] == ["input", "mul", "add"]


def test_errors():
    def trace(function, output_bits=64):
        kernel(inputs={"a": signed(40), "b": bits(7)}, outputs={"y": signed(output_bits)})(
            lambda a, b: {"y": function(a, b)}
        )

    with pytest.raises(OverflowError, match="64-bit"):
        trace(lambda a, b: a << 30)
    with pytest.raises(OverflowError, match="beyond its type"):
        trace(lambda a, b: a, 39)
    with pytest.raises(ValueError, match="must be within 0..63"):
        trace(lambda a, b: a >> b)
    with pytest.raises(ValueError, match="within the table"):
        trace(lambda a, b: lookup(b, range(127)))
    with pytest.raises(ValueError, match="unsigned"):
        trace(lambda a, b: a & b)
    with pytest.raises(TypeError, match="no truth value"):
        trace(lambda a, b: a if a < b else b)
    with pytest.raises(ValueError, match="declared are"):
        kernel(inputs={"a": bits(1)}, outputs={"y": bits(1)})(lambda a: {"z": a})

    claimed = kernel(inputs={"a": bits(8)}, outputs={"y": bits(4)})(lambda a: {"y": a.known(0, 15)})
    assert claimed.numpy(a=15)["y"] == 15
    with pytest.raises(OverflowError, match="claim 0..15"):
        claimed.numpy(a=[3, 16])
    with pytest.raises(OverflowError, match="input a .* must be in 0..255, got 0..256"):
        claimed.numpy(a=[0, 256])
    with pytest.raises(TypeError, match=r"takes \['a'\], got \['b'\]"):
        claimed.numpy(b=1)

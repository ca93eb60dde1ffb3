"""What kernels compute with beyond Python's operators, up to rounding shifts and leading zeros.

Anything larger than a primitive is composed of primitives, small enough for the scheduler to cut
between them.
"""

from hls_attention.values import Value, as_unsigned, as_value, make_node

__all__ = [
    "absolute",
    "add_or_subtract",
    "clamp",
    "concat",
    "conditional_negate",
    "lookup",
    "maximum",
    "minimum",
    "mux",
    "round_shift",
    "shift_to_top",
]


def mux(condition, if_true, if_false):
    """``if_true`` where the one-bit ``condition`` is 1, else ``if_false``."""
    a, b = as_value(if_true), as_value(if_false)
    return make_node("mux", (as_value(condition), a, b), min(a.lo, b.lo), max(a.hi, b.hi))


def lookup(index, table):
    """``table[index]``; the table is a sequence of integers, one for every value of ``index``."""
    table = tuple(int(entry) for entry in table)
    if index.lo < 0 or index.hi >= len(table):
        raise ValueError(
            f"index in {index.lo}..{index.hi} must be within the table's 0..{len(table) - 1}"
        )
    return make_node("lookup", (index,), min(table), max(table), param=table)


def concat(low, high):
    """The bits of unsigned ``high`` above those of unsigned ``low``: wires only."""
    low, high = as_unsigned(low), as_unsigned(high)
    hi = (high.hi << low.width) + (1 << low.width) - 1
    return make_node("concat", (low, high), 0, hi, param=low.width)


def minimum(a, b):
    """The smaller of two values."""
    a, b = as_value(a), as_value(b)
    return _bounded(mux(a < b, a, b), min(a.lo, b.lo), min(a.hi, b.hi))


def maximum(a, b):
    """The larger of two values."""
    a, b = as_value(a), as_value(b)
    return _bounded(mux(a < b, b, a), max(a.lo, b.lo), max(a.hi, b.hi))


def clamp(value, lo, hi):
    """``value`` saturated to the constants ``lo..hi``; a side it cannot cross costs nothing."""
    if value.hi > hi:
        value = minimum(value, hi)
    if value.lo < lo:
        value = maximum(value, lo)
    return value


def conditional_negate(condition, value):
    """``-value`` where ``condition`` is 1, else ``value``."""
    return mux(condition, -value, value)


def add_or_subtract(subtract, a, b, lo, hi):
    """``a - b`` where ``subtract`` is 1, else ``a + b``: one adder.

    ``lo..hi`` is the range of the result: a claim, as in `Value.known`.
    """
    return make_node("addsub", (as_value(subtract), a, b), lo, hi, param=(lo, hi))


def absolute(value):
    """Magnitude of a value."""
    lo, hi = max(0, value.lo, -value.hi), max(value.hi, -value.lo)
    return _bounded(conditional_negate(value < 0, value), lo, hi) if value.signed else value


def round_shift(value, amount):
    """``(value + half) >> amount``: ``value / 2**amount`` to the nearest integer, halves up.

    Computed as a shift that keeps one bit more, plus one: no adder is wider than the result. An
    amount that leaves nothing of the value may be as large as it likes.
    """
    if isinstance(amount, Value):
        amount = clamp(amount, 0, value.width + (not value.signed))
    return (((value << 1) >> amount) + 1) >> 1


def shift_to_top(value, width):
    """Leading zeros of an unsigned value, and the value without them.

    Parameters
    ----------
    value : Value
        0..2**width - 1.
    width : int
        2..63.

    Returns
    -------
    shifted : Value
        ``value << zeros``: bit ``width - 1`` is set unless ``value`` is 0.
    zeros : Value
        Leading zeros within ``width`` bits; of a zero, some number not below ``width - 1``.
    """
    most = (1 << width) - 1
    value = value.known(0, most) if value.hi > most else value
    decisions = []
    for power in reversed(range((width - 1).bit_length())):
        step = 1 << power
        empty = (value >> (width - step)) == 0
        value = _bounded(mux(empty, value[0 : width - step] << step, value), 0, most)
        decisions.insert(0, empty)
    zeros = decisions[0]
    for decision in decisions[1:]:
        zeros = concat(zeros, decision)
    return value, zeros


def _bounded(value, lo, hi):
    """A value with a tighter range that follows from how it was made."""
    return make_node("bounded", (value,), lo, hi) if (lo, hi) != (value.lo, value.hi) else value

"""Error locators from syndromes: the inversion-free Berlekamp-Massey iteration for binary codes.

Step r = 0 .. t-1, with L the number of errors the locator stands for so far::

    delta   = sum_j locator_j S_(2r+1-j),  j = 0..L
    locator = scale * locator + delta * helper                             if delta != 0
    helper  = x**2 * (locator if delta != 0 and L <= r else helper)        and L = 2r+1-L,
                                                                           scale = delta with it
(E. R. Berlekamp, Algebraic Coding Theory, 1968; without divisions after H. O. Burton, 1971.)

Sums and updates go over ``lanes`` coefficients a clock, over those up to degree L only. So few
errors take few clocks, whatever t is: a step without a discrepancy takes the groups of its sum, and
another takes one clock and the groups of its update more. The next sum starts before it is known
whether there is a discrepancy, and is thrown away if there is.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .linear import multiply, xor_all
from .linear_register import LinearRegister
from .syndromes import syndromes_layout

__all__ = ["LANES", "KeyEquation", "key_clocks", "locator_layout"]

LANES = (1, 2, 4, 8, 16, 32, 64)


def locator_layout(code):
    """A locator: its roots are the inverses of ``alpha**place`` of the errors.

    ``errors`` is its degree; ``failed`` says that there were more than t errors, and then neither
    of the others means anything.
    """
    return data.StructLayout(
        {
            "locator": data.ArrayLayout(code.m, code.t + 1),
            "errors": range(code.t + 1),
            "failed": 1,
        }
    )


def key_clocks(code, lanes, errors):
    """Clocks from taking syndromes to being ready for the next, for so many errors up to t.

    Exact if the locator grows by one in each step until it is complete, as it does unless a
    discrepancy vanishes by chance (one in ``2**m``); no other pattern takes longer by more than
    the groups of one update.
    """
    if errors == 0:
        return 2
    clocks = 2  # taking, giving
    for step in range(code.t):
        clocks += min(step, errors) // lanes + 1
        if step < errors:
            clocks += 1 + (step + 1) // lanes + 1
    return clocks + (errors < code.t)  # the last discrepancy is looked at


class KeyEquation(wiring.Component):
    """Solves the key equation of one codeword after the other; see `key_clocks` for its latency.

    Parameters
    ----------
    code : BchCode
    lanes : int
        Coefficients a clock, one of `LANES`, not above the power of two that holds t + 1; there
        are twice as many multipliers.

    Members
    -------
    i : In(stream), ``syndromes_layout(code)``
    o : Out(stream), ``locator_layout(code)``
        From registers, one for each ``i``.
    active : Out(1)
        It works on a codeword.
    """

    def __init__(self, code, *, lanes):
        if lanes not in LANES or lanes >= 2 * (code.t + 1):
            allowed = ", ".join(str(n) for n in LANES if n < 2 * (code.t + 1))
            raise ValueError(
                f"lanes = {lanes!r} is not possible for t = {code.t}: choose {allowed}"
            )
        self._code = code
        self._lanes = lanes
        super().__init__(
            {
                "i": In(stream.Signature(syndromes_layout(code))),
                "o": Out(stream.Signature(locator_layout(code))),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        code, lanes, bits, t = self._code, self._lanes, self._code.m, self._code.t
        groups = -(-(t + 1) // lanes)
        wide = lanes * bits

        m.submodules.ring = ring = _ring_register(code)
        turns = Signal()
        locator = Signal(groups * wide)
        helper = Signal(groups * wide)
        scale = Signal(bits)
        delta = Signal(bits)
        partial = Signal(bits)  # sum of the groups so far
        fresh = Signal()  # delta is that of step - 1 and has not been looked at
        shift = Signal()  # helper has yet to be multiplied by x**2
        step = Signal(range(t + 1))
        errors = Signal(range(t + 1))
        grown = Signal(range(2 * t))  # errors after the update under way
        swap = Signal()
        group = Signal(range(max(2, groups)))
        failed = Signal()

        def last_group(count):
            return group == count[exact_log2(lanes) :]

        locator_part = Signal(wide)
        helper_part = Signal(wide)
        ring_part = Signal(wide)
        updating = Signal()
        m.d.comb += [
            locator_part.eq(locator.word_select(group, wide)),
            helper_part.eq(helper.word_select(group, wide)),
            ring_part.eq(ring.q[: groups * wide].word_select(group, wide)),
        ]
        with m.If(turns):
            m.d.comb += [ring.en.eq(1), ring.base.eq(ring.q.rotate_left(2 * bits))]
        scaled = Signal(wide)  # in a sum: its terms
        added = Signal(wide)
        for lane in range(lanes):
            other = Mux(updating, scale, ring_part.word_select(lane, bits))
            mine = locator_part.word_select(lane, bits)
            m.d.comb += [
                scaled.word_select(lane, bits).eq(multiply(m, mine, other, code.field)),
                added.word_select(lane, bits).eq(
                    multiply(m, helper_part.word_select(lane, bits), delta, code.field)
                ),
            ]
        sum_ = Signal(bits)
        m.d.comb += sum_.eq(
            partial ^ xor_all(scaled.word_select(lane, bits) for lane in range(lanes))
        )
        m.d.comb += [
            self.o.payload.locator.eq(locator[: (t + 1) * bits]),
            self.o.payload.errors.eq(errors),
            self.o.payload.failed.eq(failed),
        ]
        wanted = Signal(range(-t, 2 * t))
        m.d.comb += wanted.eq(2 * step - 1 - errors)

        with m.FSM(name="phase") as phase:
            m.d.comb += self.active.eq(phase.ongoing("SUM") | phase.ongoing("UPDATE"))
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [
                        locator.eq(1),
                        helper.eq(1 << bits),
                        scale.eq(1),
                        partial.eq(0),
                        fresh.eq(0),
                        shift.eq(0),
                        step.eq(0),
                        errors.eq(0),
                        group.eq(0),
                        failed.eq(0),
                    ]
                    m.next = "DONE"
                    with m.If(self.i.payload.as_value().any()):
                        m.d.comb += [ring.en.eq(1), ring.i[0].eq(self.i.payload)]
                        m.next = "SUM"
            with m.State("SUM"):
                with m.If(fresh & delta.any()):
                    m.d.sync += [fresh.eq(0), group.eq(0), partial.eq(0), swap.eq(errors < step)]
                    m.d.sync += grown.eq(errors)
                    m.next = "UPDATE"
                    with m.If(errors < step):
                        m.d.sync += grown.eq(wanted)
                        with m.If(wanted > t):
                            m.d.sync += failed.eq(1)
                            m.next = "DONE"
                with m.Elif(fresh & (step == t)):
                    m.next = "DONE"
                with m.Else():
                    with m.If(fresh | shift):
                        m.d.sync += [helper.eq(Cat(Const(0, 2 * bits), helper)), shift.eq(0)]
                    m.d.sync += [fresh.eq(0), partial.eq(sum_), group.eq(group + 1)]
                    with m.If(last_group(errors)):
                        m.d.sync += [
                            delta.eq(sum_),
                            fresh.eq(1),
                            partial.eq(0),
                            group.eq(0),
                            step.eq(step + 1),
                        ]
                        m.d.comb += turns.eq(1)
            with m.State("UPDATE"):
                m.d.comb += updating.eq(1)
                m.d.sync += [
                    locator.word_select(group, wide).eq(scaled ^ added),
                    group.eq(group + 1),
                ]
                with m.If(swap):
                    m.d.sync += helper.word_select(group, wide).eq(locator_part)
                with m.If(last_group(grown)):
                    m.d.sync += [group.eq(0), errors.eq(grown), shift.eq(1)]
                    with m.If(swap):
                        m.d.sync += scale.eq(delta)
                    m.next = "SUM"
                    with m.If(step == t):
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m


def _ring_register(code):
    """All syndromes, ``S_1, S_2t, S_(2t-1), ..., S_2`` from the odd ones, of which they are powers.

    Step r turns them, so that ``S_(2r+1), S_(2r), ...`` come first; beyond L they meet zeros.
    """
    order = [1, *range(2 * code.t, 1, -1)]
    columns = [0] * (code.m * code.t)
    for place, index in enumerate(order):
        squarings = 0
        while index % 2 == 0:
            index, squarings = index // 2, squarings + 1
        for bit in range(code.m):
            power = code.field.power(bit << squarings)
            columns[index // 2 * code.m + bit] |= power << code.m * place
    width = 2 * code.t * code.m
    return LinearRegister(f"bch_ring_{code.name}", width, [columns], blocks=[code.m])

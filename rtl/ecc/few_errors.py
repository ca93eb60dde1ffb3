"""Roots of locators of one and of two errors without a search: by logarithms, from a table.

::

    1 error    x = Q0 / Q1
    2 errors   x = Q1 / Q2 * y,  y**2 + y = Q0 Q2 / Q1**2;  y is linear in the right side, and
               the other root is y + 1

Products of elements are sums of logarithms modulo ``2**m - 1``, that is with the carry added at
the low end; a reciprocal is the complement, a square is a rotation (all ones is another 0). Both
tables, of logarithms and of powers, are block RAM that fills itself after reset, ``2**m`` clocks.
"""

import numpy as np
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hls_attention.verilog import Ram

from .chien import fix_layout
from .code import WORD
from .key_equation import locator_layout
from .linear import apply

__all__ = ["FEW", "FewErrors", "few_clocks"]

FEW = 2
"""Errors for which there is a formula."""


def few_clocks(errors):
    """Clocks from taking a locator of 1 or 2 errors to being ready for the next, at most."""
    return {1: 7, 2: 16}[errors]


class FewErrors(wiring.Component):
    """Finds the roots of locators of few errors; see `few_clocks` for the time one takes.

    Parameters
    ----------
    code : BchCode

    Members
    -------
    i : In(stream), ``locator_layout(code)``
        Of `KeyEquation`, with 1 or 2 errors or failed. As many coefficients and one more are then
        not 0, as every error was found by a discrepancy.
    o : Out(stream), ``fix_layout(code)``
        From registers.
    able : Out(1)
        The tables are full; nothing is taken before.
    active : Out(1)
        It works on a codeword, or on its tables.
    """

    def __init__(self, code):
        self._code = code
        super().__init__(
            {
                "i": In(stream.Signature(locator_layout(code))),
                "o": Out(stream.Signature(fix_layout(code))),
                "able": Out(1),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        code, bits = self._code, self._code.m
        solution, trace = _quadratic(code.field)

        given = Signal.like(self.i.payload)
        two = Signal()
        wrong = Signal()
        m.submodules.logs = logs = Ram(width=bits, depth=1 << bits)
        m.submodules.powers = powers = Ram(width=bits, depth=1 << bits)
        exponent, power = Signal(bits), Signal(bits, init=1)
        m.d.comb += [
            two.eq(given.errors == 2),
            logs.w_addr.eq(power),
            logs.w_data.eq(exponent),
            powers.w_addr.eq(exponent),
            powers.w_data.eq(power),
        ]

        early, late = Signal(bits), Signal(bits)  # logarithms, in the end slots
        ratio = Signal(bits)  # logarithm of Q1 / Q2
        root = Signal(bits)
        left, right, total = Signal(bits), Signal(bits), Signal(bits)
        carried = Signal(bits + 1)
        m.d.comb += [carried.eq(left + right), total.eq(carried[:bits] + carried[bits])]

        def look(element):
            return [logs.r_en.eq(1), logs.r_addr.eq(element)]

        def add(a, b):
            return [left.eq(a), right.eq(b)]

        logarithm = logs.r_data
        behind = Signal()  # the second slot lies before the first
        one_word = Signal()
        m.d.comb += [behind.eq(late < early), one_word.eq(early[6:] == late[6:])]
        fix = self.o.payload
        slot = Signal(bits)
        shown = Signal(WORD)
        m.d.comb += shown.eq(Mux(wrong | (slot[6:] >= code.message_words), 0, 1 << slot[:6]))
        with m.FSM(name="phase", init="FILL") as phase:
            m.d.comb += [
                self.able.eq(~phase.ongoing("FILL")),
                self.active.eq(~phase.ongoing("IDLE") & ~self.o.valid),
            ]
            with m.State("FILL"):
                m.d.comb += [logs.w_en.eq(1), powers.w_en.eq(1)]
                m.d.sync += [
                    exponent.eq(exponent + 1),
                    power.eq(apply(power, code.field.columns(2), bits)),
                ]
                with m.If(exponent.all()):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += [self.i.ready.eq(1), *look(self.i.payload.locator[0])]
                m.d.sync += [given.eq(self.i.payload), wrong.eq(self.i.payload.failed)]
                with m.If(self.i.valid):
                    m.next = "FIRST"
                    with m.If(self.i.payload.failed):
                        m.next = "LAST"
            with m.State("FIRST"):
                m.d.comb += look(given.locator[1])
                m.d.sync += late.eq(logarithm)
                m.next = "SECOND"
            with m.State("SECOND"):  # Q0 / Q1, Q0 / Q1**2
                m.d.comb += add(late, ~Mux(two, logarithm.rotate_left(1), logarithm))
                m.d.comb += look(given.locator[2])
                m.d.sync += [late.eq(total), ratio.eq(logarithm)]
                m.next = "PLACE"
                with m.If(two):
                    m.next = "THIRD"
            with m.State("THIRD"):
                m.d.comb += add(late, logarithm)
                m.d.sync += late.eq(total)
                m.next = "SIDE"
            with m.State("SIDE"):
                m.d.comb += [*add(ratio, ~logarithm), powers.r_en.eq(1), powers.r_addr.eq(late)]
                m.d.sync += ratio.eq(total)
                m.next = "SOLVE"
            with m.State("SOLVE"):
                m.d.sync += [
                    root.eq(apply(powers.r_data, solution, bits)),
                    wrong.eq((powers.r_data & trace).xor()),
                ]
                m.next = "ROOT"
            with m.State("ROOT"):
                m.d.comb += look(root)
                m.next = "OTHER"
            with m.State("OTHER"):
                m.d.comb += [*add(ratio, logarithm), *look(root ^ 1)]
                m.d.sync += early.eq(total)
                m.next = "BOTH"
            with m.State("BOTH"):
                m.d.comb += add(ratio, logarithm)
                m.d.sync += late.eq(total)
                m.next = "PLACE"
            with m.State("PLACE"):  # from the root to its slot
                m.d.comb += add(late, (code.slots - 1) % code.field.order)
                m.d.sync += late.eq(Mux(total.all(), 0, total))
                m.next = "CHECK"
                with m.If(two):
                    m.next = "OTHER_PLACE"
            with m.State("OTHER_PLACE"):
                m.d.comb += add(early, (code.slots - 1) % code.field.order)
                m.d.sync += early.eq(Mux(total.all(), 0, total))
                m.next = "ORDER"
            with m.State("ORDER"):
                with m.If(behind):
                    m.d.sync += [early.eq(late), late.eq(early)]
                m.next = "CHECK"
            with m.State("CHECK"):  # the later one says for both whether there are such slots
                m.d.comb += slot.eq(early)
                m.d.sync += [
                    fix.word.eq(early[6:]),
                    fix.mask.eq(Mux(two, shown, 0)),
                    fix.last.eq(0),
                ]
                with m.If(late >= code.bits):
                    m.d.sync += [wrong.eq(1), fix.mask.eq(0)]
                    m.next = "LAST"
                with m.Elif(two & ~one_word & ~wrong):
                    m.d.sync += self.o.valid.eq(1)
                    m.next = "GIVEN"
                with m.Else():
                    m.next = "LAST"
            with m.State("GIVEN"):
                with m.If(self.o.ready):
                    m.d.sync += [self.o.valid.eq(0), fix.mask.eq(0)]
                    m.next = "LAST"
            with m.State("LAST"):
                m.d.comb += slot.eq(late)
                m.d.sync += [
                    self.o.valid.eq(1),
                    fix.word.eq(late[6:]),
                    fix.mask.eq(Mux(wrong, 0, fix.mask | shown)),
                    fix.last.eq(1),
                    fix.corrected.eq(Mux(wrong, 0, given.errors)),
                    fix.uncorrectable.eq(wrong),
                ]
                m.next = "DONE"
            with m.State("DONE"):
                with m.If(self.o.ready):
                    m.d.sync += [self.o.valid.eq(0), fix.mask.eq(0)]
                    m.next = "IDLE"
        return m


def _quadratic(field):
    """Solutions of ``y**2 + y = c``: what each bit of c adds to y; bits of c that must be even."""
    elements = np.arange(1 << field.m)
    images = (field.multiply(elements, elements) ^ elements).tolist()
    preimages = {image: y for y, image in enumerate(images)}
    odd = [bit for bit in range(field.m) if 1 << bit not in preimages]
    return [
        preimages[1 << bit ^ (1 << odd[0] if bit in odd else 0)] for bit in range(field.m)
    ], sum(1 << bit for bit in odd)

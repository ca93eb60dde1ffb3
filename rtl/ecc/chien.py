"""Roots of error locators, that is where the errors are: p slots a clock.

::

    step n:  Q_j alpha**(j i)  summed over j, for slots i = 0..p-1  -> zero? -> mask of p slots
             Q_j <- Q_j alpha**(j p)

Slots come in the order in which they were sent. The search of a codeword ends with its last slot,
or once all roots are found; a codeword without errors, or with too many, takes one step.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .code import WORD
from .key_equation import locator_layout
from .linear import count_ones
from .linear_register import LinearRegister

__all__ = ["POSITIONS", "ChienSearch", "chien_clocks", "fix_layout"]

POSITIONS = (1, 2, 4, 8, 16, 32, 64)

AFTER_LAST = 2
"""Steps begun before the one that found the last root is known to have done so."""


def fix_layout(code):
    """Bits of a word to invert, or (``last``) the verdict on a codeword, or both.

    Masks of a codeword come in the order of words, none for words of parity, and not more than t.
    If ``uncorrectable``, those that have come are not to be used; ``corrected`` counts all errors,
    those in the parity included, and is 0 of an uncorrectable codeword.
    """
    return data.StructLayout(
        {
            "word": range(code.message_words),
            "mask": WORD,
            "last": 1,
            "corrected": range(code.t + 1),
            "uncorrectable": 1,
        }
    )


def chien_clocks(code, positions, last_error):
    """Clocks a search takes until it is ready for the next.

    Parameters
    ----------
    code : BchCode
    positions : int
    last_error : int or None
        Slot of the last error; None if there is none.
    """
    if last_error is None:
        return 1
    return min(last_error // positions + 1 + AFTER_LAST, -(-code.bits // positions))


class ChienSearch(wiring.Component):
    """Finds the roots of locators. See `chien_clocks` for the time a locator takes; latency 3 more.

    Parameters
    ----------
    code : BchCode
    positions : int
        Slots a clock, one of `POSITIONS`.

    Members
    -------
    i : In(stream), ``locator_layout(code)``
    o : Out(stream), ``fix_layout(code)``
        From registers.
    active : Out(1)
        It works on a codeword.
    """

    def __init__(self, code, *, positions):
        if positions not in POSITIONS:
            allowed = ", ".join(map(str, POSITIONS))
            raise ValueError(f"positions = {positions!r} is not possible: choose {allowed}")
        self._code = code
        self._positions = positions
        super().__init__(
            {
                "i": In(stream.Signature(locator_layout(code))),
                "o": Out(stream.Signature(fix_layout(code))),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        code, p = self._code, self._positions
        bits, t = code.m, code.t
        steps = -(-code.bits // p)
        shares = WORD // p  # steps of a word

        m.submodules.terms = terms = _terms_register(code, p)
        m.submodules.summed = summed = _sums_register(code, p)
        tag = data.StructLayout(
            {"step": range(steps), "last": 1, "errors": range(t + 1), "failed": 1}
        )
        busy, one_step = Signal(), Signal()
        issued = Signal(tag)
        summed_on, summed_tag = Signal(), Signal(tag)
        masked_on, masked_tag, mask = Signal(), Signal(tag), Signal(p)
        count = Signal(range(t + 1))
        total = Signal(range(t + p + 1))
        found_all = Signal()
        advance = Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.active.eq(advance & (busy | summed_on | masked_on)),
            total.eq(count + count_ones(mask)),
            # what is behind in the pipeline is of the same codeword unless a last step is there
            found_all.eq(
                masked_on
                & (total == masked_tag.errors)
                & ~masked_tag.last
                & ~(summed_on & summed_tag.last)
            ),
            issued.last.eq(one_step | found_all | (issued.step == steps - 1)),
            self.i.ready.eq(advance & (~busy | issued.last)),
        ]
        takes = Signal()
        m.d.comb += [
            takes.eq(self.i.valid & self.i.ready),
            terms.en.eq(advance & (busy | takes)),
            terms.i[0].eq(Mux(takes, 0, terms.q)),
            terms.i[1].eq(Mux(takes, self.i.payload.locator, 0)),
            summed.en.eq(advance & busy),
            summed.i[0].eq(terms.q),
        ]
        with m.If(advance):
            m.d.sync += [
                issued.step.eq(issued.step + 1),
                summed_on.eq(busy),
                summed_tag.eq(issued),
                masked_on.eq(summed_on),
                masked_tag.eq(summed_tag),
            ]
            with m.If(summed_on):
                m.d.sync += mask.eq(Cat(~summed.q.word_select(i, bits).any() for i in range(p)))
            with m.If(summed_tag.step == steps - 1):
                for i in range(code.bits - (steps - 1) * p, p):  # no slots of the code
                    m.d.sync += mask[i].eq(0)
            with m.If(issued.last):
                m.d.sync += busy.eq(0)
            with m.If(~busy | issued.last):
                m.d.sync += [
                    busy.eq(self.i.valid),
                    issued.step.eq(0),
                    issued.errors.eq(self.i.payload.errors),
                    issued.failed.eq(self.i.payload.failed),
                    one_step.eq(self.i.payload.failed | (self.i.payload.errors == 0)),
                ]

        part = masked_tag.step[: ceil_log2(shares)]
        before = Signal(WORD)  # of the same word
        word_mask = Signal(WORD)
        word = masked_tag.step[ceil_log2(shares) :]
        wrong = Signal()
        gives = Signal()
        m.d.comb += [
            word_mask.eq(
                before | Cat(Mux(part == share, mask, Const(0, p)) for share in range(shares))
            ),
            wrong.eq(masked_tag.failed | (total != masked_tag.errors)),
            gives.eq(word_mask.any() & (part == shares - 1) & (word < code.message_words)),
        ]
        with m.If(advance):
            m.d.sync += [
                self.o.valid.eq(masked_on & (gives | masked_tag.last)),
                self.o.payload.word.eq(word),
                self.o.payload.mask.eq(Mux(word < code.message_words, word_mask, 0)),
                self.o.payload.last.eq(masked_tag.last),
                self.o.payload.corrected.eq(Mux(wrong, 0, masked_tag.errors)),
                self.o.payload.uncorrectable.eq(wrong),
            ]
            with m.If(masked_on):
                m.d.sync += [count.eq(total), before.eq(word_mask)]
                with m.If(masked_tag.last):
                    m.d.sync += [count.eq(0), before.eq(0)]
                with m.Elif(part == shares - 1):
                    m.d.sync += before.eq(0)
        return m


def _terms_register(code, positions):
    """Terms ``Q_j``: the next step's of those there are, or the first of a locator."""
    field = code.field

    def scaled(exponent):
        """Element j times ``alpha**(exponent * j)``."""
        return [
            column << code.m * j
            for j in range(code.t + 1)
            for column in field.columns(field.power(exponent * j))
        ]

    name = f"bch_terms_{code.name}_{positions}"
    width = code.m * (code.t + 1)
    maps = [scaled(positions), scaled(1 - code.slots)]
    return LinearRegister(name, width, maps, blocks=[code.m, code.m])


def _sums_register(code, positions):
    """Sums of the terms at each of the slots of a step."""
    columns = [
        sum(code.field.power(j * i + bit) << code.m * i for i in range(positions))
        for j in range(code.t + 1)
        for bit in range(code.m)
    ]
    return LinearRegister(f"bch_search_{code.name}_{positions}", code.m * positions, [columns])

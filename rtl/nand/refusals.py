"""Operations that can be done by no die: refused before anything is sent."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .operations import Cause, NandOp, operation_layout

__all__ = ["Refusals"]


class Refusals(wiring.Component):
    """Why an operation is refused. Combinational.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    op : In(operation_layout(dies))
    dead : In(dies)
        Dies that get no operation any more.
    cause : Out(Cause)
        NONE: it can be done.
    """

    def __init__(self, geometry):
        self._geometry = geometry
        super().__init__(
            {
                "op": In(operation_layout(geometry.dies)),
                "dead": In(geometry.dies),
                "cause": Out(Cause),
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry, op, cause = self._geometry, self.op, self.cause
        with m.If(op.die >= geometry.dies):
            m.d.comb += cause.eq(Cause.BAD_DIE)
        with m.Else(), m.Switch(op.op):
            with m.Case(NandOp.READ, NandOp.PROGRAM):
                with m.If(op.row >= geometry.rows):
                    m.d.comb += cause.eq(Cause.BAD_ROW)
                with m.Elif(op.words == 0):
                    m.d.comb += cause.eq(Cause.NO_WORDS)
                with m.Elif(op.column + op.words > geometry.page_words):
                    m.d.comb += cause.eq(Cause.BEYOND_PAGE)
            with m.Case(NandOp.ERASE), m.If(op.row >= geometry.rows):
                m.d.comb += cause.eq(Cause.BAD_ROW)
        with m.If(self.dead.bit_select(op.die, 1)):
            m.d.comb += cause.eq(Cause.DEAD)
        return m

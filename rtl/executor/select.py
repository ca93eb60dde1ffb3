"""States of the selection of one head's tokens, before its passes.

::

    SELECT --+--> facts of all passes --> selector: job --> q --> columns walked --> PASSES
             '--> PASSES, where no fewer tokens are kept than there are
"""

from amaranth.hdl import Array, Const, Mux, Signal
from amaranth.utils import ceil_log2

from ..append.records import groups_in_units
from ..commands import AttendMode
from ..tables import PASS

__all__ = ["select_states"]


def select_states(m, x, *, sparse, passes, beats, q_at, q_words):
    """Adds the states to the executor ``x``; entered at SELECT, left at PASSES.

    Returns what the walks of a head are told of it.

    Parameters
    ----------
    sparse : Signal
        Some tokens are left out.
    passes, beats, q_at, q_words
        As in `executor_pass.pass_states`.
    """
    config = x.config
    shift = ceil_log2(config.pass_tokens)
    number = Signal(8, name="select_number")
    pass_left = Signal(32, name="select_tokens_left")  # tokens of this pass and those after it
    # Block exponents of K; a bound may have one more than all elements.
    exponents = Array(Signal(8, name=f"select_k_exp_{n}") for n in range(config.max_passes))
    head, sequence, job = x.info.head, x.sequence, x.job
    bounds = x.attend.mode == AttendMode.BOUNDS if config.bounds else Const(0, 1)
    units = Signal(16, name="select_units")  # whole units
    unit_groups = Signal(24, name="select_unit_groups")  # groups in these
    unit_tokens = Const(config.unit_tokens)
    if config.bounds:
        unit_tokens = Signal(range(config.unit_tokens + 1), name="select_unit_tokens")
    in_units = Signal(32, name="select_in_units")
    place = {
        "format": sequence.format,
        "beats": beats,
        "channel": x.info.channel,
        "map": x.info.map,
        "tail": x.info.tail,
        "flash_groups": head.flash_groups,
        "group_tokens": sequence.group_tokens,
        "units": units,
        "unit_groups": sequence.unit_groups,
    }
    pages = head.column_pages
    whole = 0  # sequence.unit_groups is a power of two
    for bit in range(config.unit_tokens.bit_length()):
        whole = Mux(sequence.unit_groups[bit], pages >> bit, whole)
    m.d.comb += [
        units.eq(Mux(bounds, pages, whole)),
        unit_groups.eq(groups_in_units(sequence, head, config.bounds)),
    ]

    with m.State("SELECT"):
        m.d.sync += [number.eq(0), pass_left.eq(head.tokens)]
        if config.bounds:
            m.d.sync += unit_tokens.eq(sequence.unit_groups * sequence.group_tokens)
        m.next = "PASSES"
        with m.If(sparse):
            m.next = "SELECT_PASS"
    with m.State("SELECT_PASS"):
        m.d.sync += in_units.eq(units * unit_tokens)
        with m.If(pass_left >> shift != 0):
            m.d.comb += [
                x.tail.i.valid.eq(1),
                x.tail.i.payload.words.eq(1),
                x.tail.i.payload.address.eq(x.info.passes + (number << 3)),
            ]
            with m.If(x.tail.i.ready):
                m.next = "SELECT_FACTS"
        with m.Else():
            m.d.sync += exponents[number].eq(head.k_exp + bounds)
            m.next = "SELECT_NEXT"
    with m.State("SELECT_FACTS"):
        m.d.comb += [x.tail.o.ready.eq(1), x.waits.eq(~x.tail.o.valid)]
        with m.If(x.tail.o.valid):
            k_exp = PASS.struct(x.tail.o.payload.data).k_exp
            m.d.sync += exponents[number].eq(k_exp + bounds)
            with m.If(x.tail.o.payload.error):
                m.d.sync += [exponents[number].eq(0), x.facts_lost.eq(1)]
            m.next = "SELECT_NEXT"
    with m.State("SELECT_NEXT"):
        m.d.sync += [number.eq(number + 1), pass_left.eq(pass_left - config.pass_tokens)]
        m.next = "SELECT_PASS"
        with m.If(number + 1 == passes):
            m.next = "SELECT_JOB"
    with m.State("SELECT_JOB"):
        selection = x.o_selections
        channels = len(selection.payload.unit_channel)
        m.d.comb += [
            selection.valid.eq(1),
            x.waits.eq(~selection.ready),
            selection.payload.heads.eq(job.queries),
            selection.payload.beats.eq(beats),
            selection.payload.format.eq(sequence.format),
            selection.payload.q_format.eq(job.q_format),
            selection.payload.channels.eq(Mux(bounds, sequence.head_dim, job.channels)),
            selection.payload.kept.eq(job.kept),
            selection.payload.tokens.eq(head.tokens),
            *[
                selection.payload[name].eq(Mux(job[name] < head.tokens, job[name], head.tokens))
                for name in ("sinks", "window")
            ],
            selection.payload.group_tokens.eq(sequence.group_tokens),
            selection.payload.first_channel.eq((x.info.channel + unit_groups)[:channels]),
            selection.payload.in_units.eq(in_units),
            selection.payload.unit_channel.eq(x.info.channel[:channels]),
            selection.payload.scale_mant.eq(x.sqe.scale_mant),
            selection.payload.scale_exp.eq(x.sqe.scale_exp.as_signed()),
            *[selection.payload.k_exp[n].eq(exponents[n]) for n in range(config.max_passes)],
        ]
        if config.bounds:
            m.d.comb += [
                selection.payload.bounds.eq(bounds),
                selection.payload.unit_tokens.eq(unit_tokens),
            ]
        with m.If(selection.ready):
            m.next = "SELECT_RANGE"
    x.send_queries(m, "SELECT", x.o_selection_q, address=q_at, words=q_words, then="SELECT_WALK")
    with m.State("SELECT_WALK"):
        walk = x.o_columns
        m.d.comb += [
            walk.valid.eq(1),
            x.waits.eq(~walk.ready),
            *[walk.payload[name].eq(value) for name, value in place.items()],
            walk.payload.columns.eq(x.info.columns),
            walk.payload.tail_tokens.eq(head.tail_tokens),
            *([walk.payload.bounds.eq(bounds)] if config.bounds else []),
        ]
        with m.If(walk.ready):
            m.next = "PASSES"
    return place

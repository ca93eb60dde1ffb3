"""States of one head's passes: for each, its job and q to the engine, its pages to the walker.

::

    PASSES --> PASS --> facts --> engine: job --> q --> walk --+--> ATTEND_RESULT
                 ^                                             |
                 '---------------------------------------------'

A pass need not begin with a token group: the walk skips tokens of its first page, and ends within
its last.
"""

from amaranth.hdl import Mux, Signal
from amaranth.utils import ceil_log2

from ..tables import PASS

__all__ = ["pass_states"]

FACTS = ("k_exp", "v_exp", "k_bad", "v_bad")


def pass_states(m, x, *, passes, beats, tag, q_at, q_words, selective, sparse, place):
    """Adds the states to the executor ``x``; entered at PASSES, left at ATTEND_RESULT.

    Parameters
    ----------
    passes : Signal
        Passes of the head, 1 or more.
    beats : Signal
        Beats of a vector.
    tag : Signal
        Tag of the next pass; counted up here.
    q_at, q_words : Signal
        The head's q in the command buffer.
    selective, sparse : Value
        The mode chooses tokens; some tokens are left out.
    place : dict or None
        What the walk over tokens kept is told of the head; None without sparse attention.
    """
    shift = ceil_log2(x.config.pass_tokens)
    number = Signal(8, name="pass_number")
    pass_left = Signal(32, name="pass_tokens_left")  # tokens of this pass and those after it
    first = Signal(24, name="pass_first")
    skip = Signal(16, name="pass_skip")
    facts = Signal(PASS.struct, name="pass_facts")
    full_pass = pass_left >> shift != 0
    last_pass = number + 1 == passes
    over = Signal(16, name="pass_over")  # where the next pass begins
    wraps = Signal(name="pass_wraps")
    next_first = Signal(24, name="pass_next_first")
    next_skip = Signal(16, name="pass_next_skip")
    m.d.comb += [
        over.eq(skip + x.sequence.pass_rest),
        wraps.eq(over >= x.sequence.group_tokens),
        next_skip.eq(Mux(wraps, over - x.sequence.group_tokens, over)),
        next_first.eq(first + x.sequence.pass_groups + wraps),
    ]

    with m.State("PASSES"):
        m.d.sync += [
            number.eq(0),
            first.eq(0),
            skip.eq(0),
            pass_left.eq(x.info.head.tokens),
        ]
        m.next = "PASS"
    with m.State("PASS"):
        # What is known of a pass: in its own entry once it is full, in the head's until then.
        with m.If(full_pass):
            m.d.comb += [
                x.tail.i.valid.eq(1),
                x.tail.i.payload.words.eq(1),
                x.tail.i.payload.address.eq(x.info.passes + (number << 3)),
            ]
            with m.If(x.tail.i.ready):
                m.next = "PASS_FACTS"
        with m.Else():
            m.d.sync += [facts[name].eq(x.info.head[name]) for name in FACTS]
            m.next = "PASS_ENGINE"
    with m.State("PASS_FACTS"):
        m.d.comb += [x.tail.o.ready.eq(1), x.waits.eq(~x.tail.o.valid)]
        with m.If(x.tail.o.valid):
            m.d.sync += facts.eq(x.tail.o.payload.data)
            with m.If(x.tail.o.payload.error):
                m.d.sync += [facts.eq(0), x.facts_lost.eq(1)]
            m.next = "PASS_ENGINE"
    with m.State("PASS_ENGINE"):
        jobs = x.o_jobs
        m.d.comb += [
            jobs.valid.eq(1),
            x.waits.eq(~jobs.ready),
            jobs.payload.tag.eq(tag),
            jobs.payload.first.eq(number == 0),
            jobs.payload.last.eq(last_pass),
            jobs.payload.partial.eq(x.attend.partials),
            jobs.payload.together.eq(0 if place is None else selective),
            jobs.payload.heads.eq(x.job.queries),
            jobs.payload.beats.eq(beats),
            *[jobs.payload[name].eq(facts[name]) for name in FACTS],
            jobs.payload.scale_mant.eq(x.sqe.scale_mant),
            jobs.payload.scale_exp.eq(x.sqe.scale_exp.as_signed()),
            jobs.payload.format.eq(x.sequence.format),
            jobs.payload.q_format.eq(x.job.q_format),
        ]
        with m.If(jobs.ready):
            m.next = "PASS_RANGE"
    x.send_queries(m, "PASS", x.o_q, address=q_at, words=q_words, then="PASS_WALK")
    with m.State("PASS_WALK"):
        walk = x.o_walk
        walked = walk.ready
        head = x.info.head
        group_tokens = x.sequence.group_tokens
        in_tail = head.tail_tokens != 0
        if place is not None:
            # In order with the walks of selections: also where all tokens are kept.
            kept = x.o_tokens
            walked = Mux(selective, kept.ready, walk.ready)
            m.d.comb += [
                kept.valid.eq(selective),
                *[kept.payload[name].eq(value) for name, value in place.items()],
                *[
                    kept.payload[name].eq(walk.payload[name])
                    for name in ("tag", "first", "last", "end_tokens")
                ],
                kept.payload.all.eq(~sparse),
                kept.payload.ends.eq(last_pass),
            ]
        m.d.comb += [
            walk.valid.eq(1 if place is None else ~selective),
            x.waits.eq(~walked),
            walk.payload.tag.eq(tag),
            walk.payload.format.eq(x.sequence.format),
            walk.payload.beats.eq(beats),
            walk.payload.channel.eq(x.info.channel),
            walk.payload.map.eq(x.info.map),
            walk.payload.tail.eq(x.info.tail),
            walk.payload.flash_groups.eq(head.flash_groups),
            walk.payload.group_tokens.eq(group_tokens),
            walk.payload.first.eq(first),
            walk.payload.skip.eq(skip),
        ]
        with m.If(~last_pass):
            m.d.comb += [
                walk.payload.last.eq(next_first - (next_skip == 0)),
                walk.payload.end_tokens.eq(Mux(next_skip == 0, group_tokens, next_skip)),
            ]
        with m.Else():
            m.d.comb += [
                walk.payload.last.eq(head.flash_groups - ~in_tail),
                walk.payload.end_tokens.eq(Mux(in_tail, head.tail_tokens, group_tokens)),
            ]
        with m.If(walked):
            m.d.sync += tag.eq(tag + 1)
            with m.If(last_pass):
                m.next = "ATTEND_RESULT"
            with m.Else():
                m.d.sync += [
                    number.eq(number + 1),
                    first.eq(next_first),
                    skip.eq(next_skip),
                    pass_left.eq(pass_left - x.config.pass_tokens),
                ]
                m.next = "PASS"

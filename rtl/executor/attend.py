"""States of ATTEND and STEP: a list of jobs, each all KV heads of one layer of one sequence.

::

    list --> job --> check --+--> head --(STEP: append its token)--> pass, pass ... --> result
               ^             '--> refused: its status goes to the result writer instead
               '---- next
"""

from amaranth.hdl import Cat, Const, Mux, Signal
from amaranth.utils import ceil_log2

from hls_attention.beats import BEATS_BITS, JOB_BITS, Format

from ..commands import JOB, JOB_STATUS, AttendMode, Opcode, Status
from .passes import pass_states
from .select import select_states

__all__ = ["attend_states"]


def attend_states(m, x):
    """Adds the states to the executor ``x``; entered at ATTEND, left at FINISH."""
    step = x.sqe.opcode == Opcode.STEP
    moved_in = Signal(20, name="attend_words_in")
    tag = Signal(JOB_BITS, name="attend_tag")
    beats = Signal(BEATS_BITS, name="attend_beats")
    q_words = Signal(20, name="attend_q_words")  # of one KV head
    kv_words = Signal(8, name="attend_kv_words")  # of one KV head: head_dim / 2
    q_at = Signal(32, name="attend_q_at")  # next word of q in the buffer
    kv_at = Signal(32, name="attend_kv_at")
    status_at = Signal(48, name="attend_status_at")
    result_at = Signal(48, name="attend_result_at")
    result_words = Signal(24, name="attend_result_words")  # of one KV head
    all_words = Signal(32, name="attend_all_words")  # of all KV heads
    all_queries = Signal(20, name="attend_all_queries")
    refusal = Signal(11, name="attend_refusal")
    lost = Signal(name="attend_lost")
    buffer = x.buffer
    attend = x.attend
    job = x.job
    in_words = attend.bytes[3:23]

    selects = bool(x.config.sparse_tokens)
    selective = attend.mode != AttendMode.DENSE
    bounds = attend.mode == AttendMode.BOUNDS if x.config.bounds else Const(0, 1)
    unknown_mode = selective
    sparse = Signal(name="attend_sparse")  # fewer tokens are kept than there are
    tokens = Signal(32, name="attend_tokens")
    if selects:
        last_mode = AttendMode.BOUNDS if x.config.bounds else AttendMode.SPARF
        unknown_mode = (attend.mode > last_mode) | (selective & attend.partials)

    passes = Signal(8, name="attend_passes")  # of each head of the job
    shift = ceil_log2(x.config.pass_tokens)

    def fail(status):
        m.d.sync += refusal.eq(status)
        m.next = "ATTEND_REFUSED"

    def check_lost():
        """Whether device DRAM has failed."""
        with m.If(x.i_append.payload.failed):
            fail(Status.INTERNAL_ERROR)

    def check_head():
        """The same, and whether the head holds as many tokens as the first one, none of them of an
        append that failed."""
        head = x.i_append.payload.head
        with m.If(head.spoiled | (head.tokens != tokens)):
            fail(Status.SPOILED_APPEND)
        check_lost()

    def go_on():
        """To the next head."""
        m.next = "ATTEND_HEAD"
        with m.If(step):
            m.next = "STEP_RANGE"

    with m.State("ATTEND"):
        m.d.sync += [x.bytes.eq(attend.bytes), x.flush_due.eq(0)]
        with m.If((attend.jobs == 0) | (attend.bytes == 0)):
            x.refuse(m, Status.ZERO_LENGTH)
        with m.Elif(unknown_mode):
            x.refuse(m, Status.UNSUPPORTED_MODE)
        with m.Elif(
            (attend.bytes > x.config.max_attend)
            | attend.bytes[:3].any()
            | (attend.jobs > x.config.max_attend // JOB.size)
            | ((attend.jobs[:16] << 5) > attend.bytes)
            | x.sqe.result[:3].any()
            | ~x.sqe.scale_mant[25]
        ):
            x.refuse(m, Status.INVALID_FIELD)
        with m.Elif((x.sqe.result < x.window_base) | (x.sqe.result >= x.window_end)):
            x.refuse(m, Status.OUT_OF_WINDOW)
        with m.Else():
            m.next = "ATTEND_POINTER"
    x.load_pointer(m, "ATTEND_POINTER", then="ATTEND_FETCH")
    with m.State("ATTEND_FETCH"):
        m.d.comb += [
            x.pointer.i.valid.eq(1),
            x.pointer.i.payload.offset.eq(0),
            x.pointer.i.payload.words.eq(in_words),
            buffer.clear.eq(1),
        ]
        m.d.sync += moved_in.eq(0)
        with m.If(x.pointer.i.ready):
            m.next = "ATTEND_FILL"
    with m.State("ATTEND_FILL"):
        x.read_pieces(m)
        m.d.comb += [
            x.reader.o.ready.eq(1),
            buffer.i.valid.eq(x.reader.o.valid),
            buffer.i.payload.eq(x.reader.o.payload.data),
            x.waits.eq(~x.reader.o.valid),
        ]
        with m.If(x.reader.o.valid):
            m.d.sync += moved_in.eq(moved_in + 1)
            with m.If(moved_in + 1 == in_words):
                with m.If(x.link_error | x.reader.o.payload.error):
                    x.refuse(m, Status.TRANSFER_ERROR)
                with m.Else():
                    m.next = "ATTEND_JOB"

    x.read_job(m, "ATTEND_JOB", then="ATTEND_PLACE")
    with m.State("ATTEND_PLACE"):
        m.d.sync += [
            x.facts_lost.eq(0),
            status_at.eq(x.sqe.result + job.result_offset),
            result_at.eq(x.sqe.result + job.result_offset + JOB_STATUS.size),
        ]
        m.next = "ATTEND_PLACE_CHECK"
    with m.State("ATTEND_PLACE_CHECK"):
        outside = (status_at < x.window_base) | (result_at > x.window_end)
        m.d.sync += lost.eq(outside | job.result_offset[:3].any())
        with m.If(job.result_offset[:3].any()):
            fail(Status.INVALID_JOB)
        with m.Elif(outside):
            fail(Status.OUT_OF_WINDOW)
        with m.Else():
            m.next = "ATTEND_SEQUENCE"
    x.look_up(
        m,
        job.sequence,
        job.layer,
        "ATTEND_SEQUENCE",
        ok="ATTEND_SHAPE",
        refused="ATTEND_REFUSED",
        status=refusal,
    )
    with m.State("ATTEND_SHAPE"):
        m.d.sync += [
            beats.eq(x.sequence.head_dim >> 2),
            x.head.eq(0),
            q_words.eq(job.queries[:4] * x.sequence.head_dim[2:9]),
            kv_words.eq(x.sequence.head_dim >> 1),
            all_queries.eq(job.queries[:4] * x.sequence.kv_heads),
            q_at.eq(job.q_offset >> 3),
            kv_at.eq(job.kv_offset >> 3),
        ]
        with m.If(job.queries == 0):
            fail(Status.ZERO_LENGTH)
        with m.Elif(job.queries > x.config.max_queries_per_kv):
            fail(Status.TOO_MANY_QUERY_HEADS)
        with m.Elif(job.q_format > max(format.value for format in Format)):
            fail(Status.UNSUPPORTED_FORMAT)
        with m.Elif(job.q_offset[:3].any() | job.kv_offset[:3].any()):
            fail(Status.INVALID_JOB)
        with m.Else():
            m.next = "ATTEND_RANGES"
    with m.State("ATTEND_RANGES"):
        with m.If(
            (q_at + all_queries * beats > in_words)
            | (step & (kv_at + x.sequence.kv_heads * kv_words > in_words))
        ):
            fail(Status.INVALID_JOB)
        with m.Else():
            m.next = "ATTEND_FIRST"
    x.ask_append(m, "ATTEND_FIRST", then="ATTEND_TOKENS", check=check_lost)
    with m.State("ATTEND_TOKENS"):
        held = x.info.head.tokens + step
        m.d.sync += [
            tokens.eq(held),
            sparse.eq(selective & (job.kept < held) if selects else 0),
        ]
        m.d.sync += passes.eq((held >> shift) + held[:shift].any())
        with m.If(x.info.head.spoiled | (step & x.info.head.torn)):
            fail(Status.SPOILED_APPEND)
        with m.Elif(step & (x.info.head.tokens >= x.sequence.max_tokens)):
            fail(Status.CONTEXT_EXCEEDED)
        with m.Elif(step & (x.info.head.tail_tokens == x.sequence.group_tokens)):
            # An earlier job of this list filled the tail and still reads it.
            fail(Status.INVALID_JOB)
        with m.Elif(~step & (x.info.head.tokens == 0)):
            fail(Status.EMPTY_CONTEXT)
        with m.Else():
            m.next = "ATTEND_RESULT_WORDS"
    with m.State("ATTEND_RESULT_WORDS"):
        of_partials = passes[:5] * (job.queries[:4] * (x.sequence.head_dim[:9] + 2))
        m.d.sync += result_words.eq(Mux(attend.partials, of_partials, q_words))
        m.next = "ATTEND_ALL_WORDS"
    with m.State("ATTEND_ALL_WORDS"):
        m.d.sync += all_words.eq(result_words * x.sequence.kv_heads)
        m.next = "ATTEND_RESULT_CHECK"
    with m.State("ATTEND_RESULT_CHECK"):
        with m.If(result_at + (all_words << 3) > x.window_end):
            fail(Status.OUT_OF_WINDOW)
        with m.Else():
            go_on()
            if selects:
                with m.If(selective):
                    m.next = "ATTEND_SELECTION"
    begin = "PASSES"
    if selects:
        begin = "SELECT"
        with m.State("ATTEND_SELECTION"):
            channels = job.channels
            wrong = ~bounds & ((channels == 0) | (channels > x.sequence.head_dim))
            with m.If(wrong | (job.kept == 0)):
                fail(Status.INVALID_SELECTION)
            with m.Elif((x.sequence.unit_groups == 0) | (x.sequence.bounds != bounds)):
                fail(Status.NO_INDEX)
            with m.Elif(tokens > x.config.sparse_tokens):
                fail(Status.SELECTION_EXCEEDED)
            with m.Else():
                go_on()

    x.ask_append(m, "ATTEND_HEAD", then=begin, check=check_head)
    with m.State("STEP_RANGE"):
        m.d.comb += [
            buffer.i_range.valid.eq(1),
            buffer.i_range.payload.address.eq(kv_at),
            buffer.i_range.payload.words.eq(kv_words),
        ]
        with m.If(buffer.i_range.ready):
            m.d.sync += kv_at.eq(kv_at + kv_words)
            m.next = "STEP_HEAD"
    with m.State("STEP_HEAD"):
        m.d.comb += [
            x.o_append.valid.eq(1),
            x.o_append.payload.head.eq(x.head),
            x.o_append.payload.tokens.eq(1),
            x.o_append.payload.defer.eq(1),
        ]
        with m.If(x.o_append.ready):
            m.next = "STEP_WORDS"
    with m.State("STEP_WORDS"):
        m.d.comb += [
            x.o_words.valid.eq(buffer.o.valid),
            x.o_words.payload.eq(buffer.o.payload),
            buffer.o.ready.eq(x.o_words.ready),
            x.i_append.ready.eq(1),
            x.waits.eq(~(buffer.o.valid & buffer.o.ready) & ~x.i_append.valid),
        ]
        with m.If(x.i_append.valid):
            m.d.sync += x.info.eq(x.i_append.payload)
            with m.If(x.i_append.payload.flush_due):
                m.d.sync += x.flush_due.eq(1)
            m.next = begin
            check_head()
            with m.If(x.i_append.payload.failed & (x.i_append.payload.begun | (x.head != 0))):
                m.next = "STEP_FAILED"
    with m.State("STEP_FAILED"):  # as of APPEND
        m.d.sync += x.head.eq(0)
        m.next = "STEP_TEAR"
    x.ask_append(m, "STEP_TEAR", then="ATTEND_REFUSED", check=lambda: None, tear=1)

    of_head = {"passes": passes, "beats": beats, "q_at": q_at, "q_words": q_words}
    place = select_states(m, x, sparse=sparse, **of_head) if selects else None
    pass_states(m, x, **of_head, tag=tag, selective=selective, sparse=sparse, place=place)

    with m.State("ATTEND_RESULT"):
        request = x.o_results.payload
        ends = x.head + 1 == x.sequence.kv_heads
        m.d.comb += [
            x.o_results.valid.eq(1),
            x.waits.eq(~x.o_results.ready),
            request.address.eq(result_at),
            request.words.eq(result_words),
            request.ends.eq(ends),
            request.job.eq(x.index),
            request.passes.eq(passes),
            request.status.eq(Mux(x.facts_lost, Status.INTERNAL_ERROR, Status.SUCCESS)),
            request.status_address.eq(status_at),
        ]
        with m.If(x.o_results.ready):
            m.d.sync += [
                result_at.eq(result_at + (result_words << 3)),
                q_at.eq(q_at + q_words),
                x.head.eq(x.head + 1),
            ]
            with m.If(ends):
                m.next = "ATTEND_NEXT_JOB"
            with m.Else():
                m.next = "ATTEND_NEXT_HEAD"
    with m.State("ATTEND_REFUSED"):
        m.d.comb += [
            x.o_results.valid.eq(1),
            x.waits.eq(~x.o_results.ready),
            x.o_results.payload.ends.eq(1),
            x.o_results.payload.job.eq(x.index),
            x.o_results.payload.status.eq(refusal),
            x.o_results.payload.status_address.eq(status_at),
            x.o_results.payload.lost.eq(lost),
        ]
        with m.If(x.o_results.ready):
            m.next = "ATTEND_NEXT_JOB"
    with m.State("ATTEND_NEXT_JOB"):
        m.d.sync += x.index.eq(x.index + 1)
        with m.If(x.index + 1 == attend.jobs):
            m.next = "ATTEND_END"
        with m.Else():
            m.next = "ATTEND_JOB"
    with m.State("ATTEND_NEXT_HEAD"):
        go_on()
    with m.State("ATTEND_END"):
        m.d.comb += [x.o_walk.valid.eq(1), x.o_walk.payload.end.eq(1), x.waits.eq(~x.o_walk.ready)]
        with m.If(x.o_walk.ready):
            m.next = "ATTEND_RESULTS"
    with m.State("ATTEND_RESULTS"):
        outcome = x.outcome
        m.d.comb += x.waits.eq(x.results_busy)
        with m.If(~x.results_busy):
            m.d.sync += [
                x.result.eq(
                    Cat(outcome.saturated, outcome.nonfinite, Const(0, 14), outcome.failed)
                ),
                x.index.eq(outcome.job),
                x.status.eq(outcome.status),
            ]
            with m.If((outcome.failed == 0) & outcome.error):
                m.d.sync += x.status.eq(Status.TRANSFER_ERROR)
            m.next = "FINISH"

"""States of READ_KV (one token group of one head back to the host) and CAPABILITIES."""

from amaranth.hdl import Mux, Signal

from hls_attention.beats import Format, Kind

from ..commands import CAPABILITY, CAPABILITY_MAGIC, MEMORY_PAGE, AttendMode, Status

__all__ = ["capability_page", "read_states"]


def capability_page(config):
    """The capability record of a drive, as bytes."""
    return CAPABILITY.pack(
        magic=CAPABILITY_MAGIC,
        version=1 << 16,
        clock_hz=config.clock_hz,
        channels=config.channels,
        dies=config.dies,
        page_bytes=config.flash.geometry.page_bytes,
        max_queries_per_kv=config.max_queries_per_kv,
        max_head_dim=config.max_head_dim,
        head_dims=sum(1 << d // 16 for d in config.head_dims),
        formats=sum(1 << format.value for format in Format),
        modes=1 << AttendMode.DENSE
        | bool(config.sparse_tokens) << AttendMode.SPARF
        | config.bounds << AttendMode.BOUNDS,
        max_sequences=config.max_sequences,
        pass_tokens=config.pass_tokens,
        max_tokens=config.max_tokens,
        max_transfer=config.max_transfer,
        max_attend=config.max_attend,
    )


def read_states(m, x):
    """Adds the states to the executor ``x``; entered at READ_KV or CAPABILITIES."""
    on_flash = Signal(name="read_on_flash")
    constant = Signal(name="read_capabilities")
    tokens = Signal(16, name="read_tokens")
    words = Signal(20, name="read_words")
    piece = Signal(20, name="read_piece")
    sent = Signal(20, name="read_sent")
    page = capability_page(x.config)
    capability_word = Signal(64)

    with m.State("CAPABILITIES"):
        m.d.sync += [
            x.bytes.eq(MEMORY_PAGE),
            words.eq(MEMORY_PAGE // 8),
            constant.eq(1),
            on_flash.eq(0),
        ]
        m.next = "READ_POINTER"

    with m.State("READ_KV"):
        m.d.sync += [x.head.eq(x.read_kv.head), constant.eq(0)]
        m.next = "READ_SEQUENCE"
    x.look_up(m, x.sqe.sequence, x.sqe.layer, "READ_SEQUENCE", ok="READ_CHECK", refused="FINISH")
    with m.State("READ_CHECK"):
        with m.If(x.head >= x.sequence.kv_heads):
            x.refuse(m, Status.HEAD_OUT_OF_RANGE)
        with m.Else():
            m.next = "READ_HEAD"
    x.ask_append(m, "READ_HEAD", then="READ_PLACE", check=x.refuse_lost(m))
    with m.State("READ_PLACE"):
        head = x.info.head
        in_tail = head.tail_tokens
        m.d.sync += on_flash.eq(x.sqe.group < head.flash_groups)
        with m.If(x.sqe.group < head.flash_groups):
            m.d.sync += tokens.eq(x.sequence.group_tokens)
            m.next = "READ_LENGTH"
        with m.Elif((x.sqe.group == head.flash_groups) & (in_tail != 0)):
            m.d.sync += tokens.eq(in_tail)
            m.next = "READ_LENGTH"
        with m.Else():
            x.refuse(m, Status.GROUP_OUT_OF_RANGE)
    with m.State("READ_LENGTH"):
        m.d.sync += [
            words.eq(tokens[:12] * x.sequence.head_dim[2:9]),
            x.bytes.eq((tokens[:12] * x.sequence.head_dim[2:9]) << 3),
        ]
        m.next = "READ_POINTER"

    x.load_pointer(m, "READ_POINTER", then="READ_SOURCE")
    with m.State("READ_SOURCE"):
        m.d.sync += [sent.eq(0), x.readback_channel.eq(x.info.channel + x.sqe.group)]
        with m.If(constant):
            m.next = "READ_RANGE"
        with m.Elif(on_flash):
            walk = x.o_walk
            m.d.comb += [
                walk.valid.eq(1),
                walk.payload.readback.eq(1),
                walk.payload.kind.eq(Mux(x.read_kv.kind, Kind.V, Kind.K)),
                walk.payload.channel.eq(x.info.channel),
                walk.payload.map.eq(x.info.map),
                walk.payload.flash_groups.eq(x.info.head.flash_groups),
                walk.payload.first.eq(x.sqe.group),
                walk.payload.last.eq(x.sqe.group),
                walk.payload.end_tokens.eq(x.sequence.group_tokens),
                walk.payload.beats.eq(x.sequence.head_dim >> 2),
            ]
            with m.If(walk.ready):
                m.next = "READ_RANGE"
        with m.Else():
            page_bytes = x.config.flash.geometry.page_bytes
            m.d.comb += [
                x.tail.i.valid.eq(1),
                x.tail.i.payload.words.eq(words),
                x.tail.i.payload.address.eq(x.info.tail + Mux(x.read_kv.kind, page_bytes, 0)),
            ]
            with m.If(x.tail.i.ready):
                m.next = "READ_RANGE"
    with m.State("READ_RANGE"):
        m.d.comb += [
            x.pointer.i.valid.eq(1),
            x.pointer.i.payload.offset.eq(0),
            x.pointer.i.payload.words.eq(words),
        ]
        with m.If(x.pointer.i.ready):
            m.next = "READ_PIECE"
    with m.State("READ_PIECE"):
        m.d.comb += [
            x.writer.i.valid.eq(x.pointer.o.valid),
            x.writer.i.payload.address.eq(x.pointer.o.payload.address),
            x.writer.i.payload.words.eq(x.pointer.o.payload.words),
            x.writer.i.payload.strobe.eq(0xFF),
            x.pointer.o.ready.eq(x.writer.i.ready),
        ]
        m.d.sync += piece.eq(x.pointer.o.payload.words)
        with m.If(x.pointer.o.valid & x.writer.i.ready):
            m.next = "READ_WORDS"
    with m.State("READ_WORDS"):
        target = x.writer.i_data
        with m.Switch(sent):
            for index in range(CAPABILITY.words):
                with m.Case(index):
                    m.d.comb += capability_word.eq(
                        int.from_bytes(page[8 * index : 8 * index + 8], "little")
                    )
        with m.If(constant):
            m.d.comb += [target.valid.eq(piece != 0), target.payload.eq(capability_word)]
        with m.Elif(on_flash):
            m.d.comb += [
                target.valid.eq(x.i_readback.valid & (piece != 0)),
                target.payload.eq(x.i_readback.payload.data),
                x.i_readback.ready.eq(target.ready & (piece != 0)),
            ]
            with m.If(target.valid & target.ready & x.i_readback.payload.error):
                m.d.sync += x.status.eq(Status.UNRECOVERED_READ)
        with m.Else():
            m.d.comb += [
                target.valid.eq(x.tail.o.valid & (piece != 0)),
                target.payload.eq(x.tail.o.payload.data),
                x.tail.o.ready.eq(target.ready & (piece != 0)),
            ]
            with m.If(target.valid & target.ready & x.tail.o.payload.error):
                m.d.sync += x.status.eq(Status.UNRECOVERED_READ)
        m.d.comb += [x.writer.done.ready.eq(1), x.waits.eq(~target.valid & ~x.writer.done.valid)]
        with m.If(target.valid & target.ready):
            m.d.sync += [piece.eq(piece - 1), sent.eq(sent + 1)]
        with m.If(x.writer.done.valid):
            with m.If(sent == words):
                m.next = "FINISH"
            with m.Else():
                m.next = "READ_PIECE"

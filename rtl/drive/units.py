"""What makes units of K by channel, and of bounds of K, of the words that the append path gives.

::

    append path --requests, words--+--> transposer --> column buffer in device DRAM
                                   '--> bounder -----------^
"""

from amaranth.hdl import Mux
from amaranth.lib.wiring import connect

from hls_attention.beats import Format

from ..sparse.bounder import Bounder
from ..sparse.transposer import Transposer, pages_together

__all__ = ["connect_units"]


def connect_units(m, config, append):
    """Places what a drive has of it, in its module; returns write ports of device DRAM, and blocks
    with ``quiet``."""
    page_bytes = config.flash.geometry.page_bytes
    words = pages_together(page_bytes) * page_bytes // 8
    m.submodules.transposer = transposer = Transposer(words, config.codeword_bytes)
    if not config.bounds:
        connect(m, append.o_transpose, transposer.i)
        connect(m, append.o_transpose_words, transposer.i_words)
        m.d.comb += [
            append.room.eq(transposer.room),
            append.transposed.eq(transposer.settled),
            append.unit_failed.eq(transposer.failed),
        ]
        return [transposer.write], [transposer]

    most = min(config.max_head_dim, config.codeword_bytes // 8)  # `bounds_groups`
    m.submodules.bounder = bounder = Bounder(words, most)
    bounds = append.sequence.bounds
    requests, request = append.o_transpose, bounder.i.payload
    m.d.comb += [
        transposer.i.payload.eq(requests.payload),
        request.bf16.eq(append.sequence.format == Format.BF16.value),
        *(request[name].eq(requests.payload[name]) for name in ("address", "beats", "quads")),
        append.room.eq(Mux(bounds, bounder.room, transposer.room)),
        append.transposed.eq(Mux(bounds, bounder.settled, transposer.settled)),
        append.unit_failed.eq(bounder.failed | transposer.failed),
    ]
    for name in ("i", "i_words"):
        source = requests if name == "i" else append.o_transpose_words
        for block, mine in ((transposer, ~bounds), (bounder, bounds)):
            with m.If(mine):
                sink = getattr(block, name)
                m.d.comb += [sink.valid.eq(source.valid), source.ready.eq(sink.ready)]
    for block in (transposer, bounder):
        m.d.comb += block.i_words.payload.eq(append.o_transpose_words.payload)
    return [transposer.write, bounder.write], [transposer, bounder]

"""The transposer: pages of K in, the same elements by channel into a buffer in device DRAM.

::

    4 pages of 16 tokens, d = 128             buffer: one codeword for each channel of the head
    | t0: c0 c1 .. c127 | t1: ... |  ---->    | c0: t0 .. t63 |              |
                                              | c1: t0 .. t63 | next 4 pages | ...
                                              | ..            |              |

Elements lie in four banks, that of token ``t`` and channel ``c`` in bank ``(t + c) mod 4``: a word
in has four channels of a token, a word out four tokens of a channel, and either meets each bank
once. Several small pages go together, so that bursts are long; there is room for twice as many: one
half is filled while the other is written.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hls_attention.beats import BEATS_BITS
from hls_attention.streams import Queue, moves
from hls_attention.verilog import Ram

from ..memory import BurstWriter
from ..memory_port import ADDRESS_BITS, MemoryPortSignature

__all__ = ["Transposer", "pages_together", "transpose_layout"]

LANES = 4
AHEAD = 8  # words between banks and writer


def pages_together(page_bytes):
    """Pages that are transposed together at most: 16 KiB, 4 pages."""
    return min(4, max(1, 16384 // page_bytes))


def transpose_layout():
    """Some pages: where their first element goes, and what they have."""
    return data.StructLayout(
        {
            "address": ADDRESS_BITS,  # 8-byte aligned
            "beats": BEATS_BITS,  # words of a token: a fourth of the head's channels
            "quads": 12,  # fours of tokens
        }
    )


class Transposer(wiring.Component):
    """Transposes some pages after others.

    Parameters
    ----------
    words : int
        Words of the pages of a request, at most.
    codeword_bytes : int
        Bytes from one channel to the next in the buffer, a power of two.

    Members
    -------
    i : In(stream), ``transpose_layout()``
    i_words : In(stream), 64 bits
        ``4 * quads * beats`` words of the pages.
    write : Out(MemoryPortSignature)
        Device DRAM.
    room : Out(1)
        The words of the next request are taken without waiting for device DRAM, or the rest of
        them if some were.
    settled : Out(1)
        All that came in is in device DRAM.
    failed : Out(1)
        The answer of this clock says that a write failed.
    quiet : Out(1)
    """

    def __init__(self, words, codeword_bytes):
        self._words = words
        self._codeword_bytes = codeword_bytes
        super().__init__(
            {
                "i": In(stream.Signature(transpose_layout())),
                "i_words": In(stream.Signature(64)),
                "write": Out(MemoryPortSignature()),
                "room": Out(1),
                "settled": Out(1),
                "failed": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.pages = pages = Queue(transpose_layout(), depth=2)
        m.submodules.words = words = Queue(64, depth=AHEAD)
        m.submodules.writer = writer = BurstWriter(burst=64, posted=True)
        connect(m, writer.port, flipped(self.write))
        connect(m, words.o, writer.i_data)
        depth = 1 << ceil_log2(self._words)
        banks = [Ram(width=16, depth=2 * depth) for _ in range(LANES)]
        for number, bank in enumerate(banks):
            m.submodules[f"bank_{number}"] = bank

        held = Signal(range(3))  # halves that are filled, and not written yet
        filled, written = Signal(), Signal()
        m.d.sync += held.eq(held + filled - written)
        self._fill(m, banks, pages, held, filled, depth)
        written_out = self._write(m, banks, pages, words, writer, held, written, depth)
        m.d.comb += [
            self.failed.eq(writer.failed),
            self.settled.eq((held == 0) & ~pages.o.valid & ~self.i.valid & written_out),
            self.quiet.eq((held == 0) & ~moves(self.i_words) & writer.quiet & (words.level == 0)),
        ]
        return m

    def _fill(self, m, banks, pages, held, filled, depth):
        """Words of a request into the banks. It is taken once all are in."""
        at = Signal(range(depth))
        beat = Signal(BEATS_BITS)
        token = Signal(2)
        quad = Signal(12)
        half = Signal()
        last_beat = beat == self.i.payload.beats - 1
        last = last_beat & (token == 3) & (quad == self.i.payload.quads - 1)
        m.d.comb += [
            self.room.eq((held != 2) & pages.i.ready),
            self.i_words.ready.eq(self.room & self.i.valid),
            filled.eq(moves(self.i_words) & last),
            self.i.ready.eq(filled),
            pages.i.valid.eq(filled),
            pages.i.payload.eq(self.i.payload),
        ]
        with m.If(moves(self.i_words)):
            m.d.sync += [at.eq(at + 1), beat.eq(beat + 1)]
            with m.If(last_beat):
                m.d.sync += [beat.eq(0), token.eq(token + 1), quad.eq(quad + (token == 3))]
            with m.If(last):
                m.d.sync += [at.eq(0), quad.eq(0), half.eq(~half)]
        for number, bank in enumerate(banks):
            lane = Signal(2, name=f"lane_into_{number}")
            m.d.comb += [
                lane.eq(number - token),
                bank.w_en.eq(moves(self.i_words)),
                bank.w_addr.eq(Cat(at, half)),
                bank.w_data.eq(self.i_words.payload.word_select(lane, 16)),
            ]

    def _write(self, m, banks, pages, words, writer, held, written, depth):
        """Channel by channel out of the banks; tells when nothing is left to write."""
        page = pages.o.payload
        address = Signal(ADDRESS_BITS)
        channel = Signal(BEATS_BITS + 2)
        quad = Signal(12)
        row = Signal(range(depth))  # of the quad's first token
        half = Signal()
        reads = Signal()
        turn = Signal(2)  # of the row that was read
        read = Signal()
        m.d.comb += [
            writer.i.payload.address.eq(address),
            writer.i.payload.words.eq(page.quads),
            writer.i.payload.strobe.eq(0xFF),
        ]
        m.d.sync += [read.eq(reads), turn.eq(channel[:2])]
        for number, bank in enumerate(banks):
            token = Signal(2, name=f"token_from_{number}")
            m.d.comb += [
                token.eq(number - channel),
                bank.r_en.eq(reads),
                bank.r_addr.eq(Cat((row + token * page.beats + channel[2:])[: len(row)], half)),
            ]
        out = Cat(
            Cat(bank.r_data for bank in banks).word_select((turn + lane)[:2], 16)
            for lane in range(LANES)
        )
        m.d.comb += [words.i.valid.eq(read), words.i.payload.eq(out)]
        idle = Signal()
        with m.FSM(name="out_state"):
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                m.d.sync += [channel.eq(0), address.eq(page.address)]
                with m.If(pages.o.valid):
                    m.next = "CHANNEL"
            with m.State("CHANNEL"):
                m.d.comb += writer.i.valid.eq(1)
                m.d.sync += [quad.eq(0), row.eq(0)]
                with m.If(writer.i.ready):
                    m.next = "READ"
            with m.State("READ"):
                # One word may be on its way from the banks.
                m.d.comb += reads.eq(words.level < AHEAD - 2)
                with m.If(reads):
                    m.d.sync += [quad.eq(quad + 1), row.eq(row + (page.beats << 2))]
                    with m.If(quad == page.quads - 1):
                        m.d.sync += [
                            channel.eq(channel + 1),
                            address.eq(address + self._codeword_bytes),
                        ]
                        m.next = "CHANNEL"
                        with m.If(channel + 1 == page.beats << 2):
                            m.d.comb += [written.eq(1), pages.o.ready.eq(1)]
                            m.d.sync += half.eq(~half)
                            m.next = "IDLE"
        return idle & writer.settled & ~read & (words.level == 0) & writer.i.ready

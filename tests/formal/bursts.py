"""Bursts of a request, as they should be: AXI4's rules, and that they add up.

Each has 1 beat or more, at most ``burst``, and crosses no 4096 bytes; they follow each other in
address, from the request's, and add up to its words.
"""

from amaranth.hdl import Assert, Assume, Signal

from rtl.memory import WORDS_BITS
from rtl.memory_port import ADDRESS_BITS
from tests.formal.observers import taken

__all__ = ["bursts_add_up"]


def bursts_add_up(m, requests, bursts, burst):
    """Watch a stream of requests and the stream of their bursts.

    Parameters
    ----------
    requests : stream of {address, words, ...}
        Assumed: addresses are multiples of 8, words 1 or more.
    bursts : stream of {address, beats}
    burst : int
        Longest.

    Returns
    -------
    address, todo : Signal
        Of the next burst; words not asked for.
    """
    address, todo = Signal(ADDRESS_BITS), Signal(WORDS_BITS)
    wanted, asked = requests.payload, bursts.payload
    m.d.comb += [
        Assume(~requests.valid | ((wanted.address[:3] == 0) & (wanted.words != 0))),
        Assert(address[:3] == 0),
    ]
    with m.If(taken(requests)):
        m.d.sync += [address.eq(wanted.address), todo.eq(wanted.words)]
    with m.If(bursts.valid):
        m.d.comb += [
            Assert(asked.address == address),
            Assert((asked.beats >= 1) & (asked.beats <= todo) & (asked.beats <= burst)),
            Assert(asked.address[:12] + (asked.beats << 3) <= 4096),
        ]
        with m.If(bursts.ready):
            m.d.sync += [
                address.eq(address + (asked.beats << 3)),
                todo.eq(todo - asked.beats),
            ]
    return address, todo

"""Fronts of channels around a shared decoder, as one component with streams for `StreamLane`."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.ecc.code import WORD
from rtl.ecc.corrector import report_layout
from rtl.ecc.decoder_front import DecoderFront
from rtl.ecc.shared_decoder import SharedDecoder

__all__ = ["SharedChannels"]


class SharedChannels(wiring.Component):
    """``i_0``, ``o_0``, ``o_reports_0``, .. of each channel, as those of a `Decoder`."""

    def __init__(self, code, *, lanes, positions, channels):
        self._code, self._channels = code, channels
        self._sizes = {"lanes": lanes, "positions": positions, "channels": channels}
        ports = {
            "i": In(stream.Signature(WORD)),
            "o": Out(stream.Signature(WORD)),
            "o_reports": Out(stream.Signature(report_layout(code))),
        }
        super().__init__(
            {f"{name}_{n}": port for n in range(channels) for name, port in ports.items()}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.shared = shared = SharedDecoder(self._code, **self._sizes)
        for number in range(self._channels):
            m.submodules[f"front_{number}"] = front = DecoderFront(self._code)
            for name in ("i", "o", "o_reports"):
                outer = flipped(getattr(self, f"{name}_{number}"))
                inner = getattr(front, name)
                connect(m, *((outer, inner) if name == "i" else (inner, outer)))
            connect(m, front.o_differences, shared.i[number])
            connect(m, shared.o[number], front.i_fixes)
        return m

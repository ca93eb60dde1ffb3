"""The halves of decoders that channels of the drive share: their places and their wires."""

from amaranth.lib.wiring import connect

from hls_attention.verilog import Shared

from ..ecc.shared_decoder import SharedDecoder

__all__ = ["connect_decoders"]


def connect_decoders(m, config, channels):
    """A decoder for each ``config.decoder_channels`` channels, if they have none of their own.

    Parameters
    ----------
    m : Module
        The drive's.
    config : rtl.config.DriveConfig
    channels : list of rtl.channel.Channel

    Returns
    -------
    list of rtl.ecc.shared_decoder.SharedDecoder
    """
    together, sizes = config.decoder_channels, config.decoder_sizes
    if together == 1:
        return []

    def decoder():
        return SharedDecoder(
            config.code, lanes=sizes.lanes, positions=sizes.positions, channels=together
        )

    decoders = []
    for first in range(0, len(channels), together):
        shared = Shared("flash_decoder", decoder, apart=True)
        m.submodules[f"decoder_{len(decoders)}"] = shared
        decoders.append(shared)
        for place, channel in enumerate(channels[first : first + together]):
            connect(m, channel.o_differences, shared.i[place])
            connect(m, shared.o[place], channel.i_fixes)
    return decoders

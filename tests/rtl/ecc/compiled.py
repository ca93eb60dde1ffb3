"""The decoder as Verilog, compiled: codewords in, messages and reports out, as arrays."""

import numpy as np

from cosim.stream_lane import StreamLane
from rtl.ecc.decoder import Decoder

__all__ = ["decode", "decoder_lane", "halves", "whole"]


def decoder_lane(code, sizes):
    return StreamLane(Decoder(code, lanes=sizes.lanes, positions=sizes.positions), "decoder")


def halves(words):
    """Words as the lane's payloads."""
    return np.ascontiguousarray(words).view(np.uint32).reshape(-1, 2)


def whole(payloads, width):
    return np.ascontiguousarray(payloads).view(np.uint64).reshape(-1, width)


def decode(lane, code, received, **pauses):
    """Messages, bits corrected, whether uncorrectable, and the traffic of the words."""
    count = len(received)
    outputs = {"o": count * code.message_words, "o_reports": count}
    traffic, clocks = lane.run({"i": halves(received)}, outputs, **pauses)
    reports = traffic["o_reports"].payloads[:, 0]
    bits = code.t.bit_length()
    message = whole(traffic["o"].payloads, code.message_words)
    return message, reports & (1 << bits) - 1, reports >> bits != 0, traffic["o"]

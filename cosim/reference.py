"""The engine's arithmetic as the host may use it: the bit-exact twin and the scale constant."""

from hls_attention.twin import TwinResult, encode_scale
from hls_attention.twin import attend as twin_attend

__all__ = ["TwinResult", "encode_scale", "twin_attend"]

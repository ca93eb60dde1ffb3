"""The drive's arithmetic as the host may use it: twin, partials, formats, scale, bounds of K."""

from hls_attention.bounds_code import BLOCK_TOKENS, UNIT_TOKENS
from hls_attention.bounds_code import encode as encode_bounds
from hls_attention.formats import BF16, FP16, FloatFormat
from hls_attention.output import PARTIAL_HEADER
from hls_attention.sparse_twin import attend as twin_attend_sparsely
from hls_attention.twin import Partial, TwinResult, encode_scale
from hls_attention.twin import attend as twin_attend
from hls_attention.twin import merge as merge_partials
from hls_attention.twin import partial as twin_partial

__all__ = [
    "BF16",
    "BLOCK_TOKENS",
    "FP16",
    "PARTIAL_HEADER",
    "UNIT_TOKENS",
    "FloatFormat",
    "Partial",
    "TwinResult",
    "encode_bounds",
    "encode_scale",
    "merge_partials",
    "twin_attend",
    "twin_attend_sparsely",
    "twin_partial",
]

"""What the units of the engine tell each other: layouts, with who sends them to whom.

::

    query loader --query_write, descriptor--> every channel
    every channel --report--> reference --reference--> every channel
    every channel --sums--> merge
    query loader --merge_job--> merge <--merge_facts-- reference

Jobs alternate between two *banks* (of queries, scores and sums), so that one job may begin where
the one before has not ended.
"""

from amaranth.hdl import Mux, signed
from amaranth.lib import data

from . import kernels
from .beats import BEATS_BITS, EXPONENT_BITS, JOB_BITS, LANES_FP16, TOKEN_BITS, Format

__all__ = [
    "COUNT_BITS",
    "PRODUCT_BITS",
    "QUERY_BITS",
    "REFERENCE_BITS",
    "SCORE_BITS",
    "SUM_BITS",
    "WEIGHT_SUM_BITS",
    "beat_meta_layout",
    "estimate_layout",
    "descriptor_layout",
    "merge_facts_layout",
    "merge_job_layout",
    "product_layout",
    "query_write_layout",
    "reference_layout",
    "report_layout",
    "result_layout",
    "weight_layout",
]

QUERY_BITS = kernels.quantise_query.outputs["qi"].width
"""Quantised query element, signed."""

PRODUCT_BITS = kernels.product.outputs["p"].width
"""An aligned product, signed, before the addition of its rounding bit."""

SCORE_BITS = kernels.score.outputs["s"].width
"""Score in log2 units, signed 16.16."""

REFERENCE_BITS = kernels.weight.inputs["m"].width
"""M = ceil(max score), signed."""

COUNT_BITS = TOKEN_BITS + 3
"""Scores of a pass: tokens times up to 8 heads."""

SUM_BITS = 64
"""Everything that is added over tokens or channels."""

WEIGHT_SUM_BITS = 63
"""Sum of weights l, LSB 2**-46; at most 2**61 for a pass."""


SCALE_BITS = kernels.score.inputs["scale_mant"].width
SCALE_EXP_BITS = kernels.score.inputs["scale_exp"].width
"""Scale of the scores: mantissa, and exponent, signed."""


def of_bank(bank, pair, field):
    """A field of one of two structures, chosen by the bank."""
    return Mux(bank, pair[1][field], pair[0][field])


def query_write_layout(config):
    """One beat's worth of quantised query elements for the query memories."""
    return data.StructLayout(
        {
            "bank": 1,
            "head": range(config.max_heads),
            "row": range(config.max_beats),
            "q": data.ArrayLayout(signed(QUERY_BITS), LANES_FP16),
        }
    )


def descriptor_layout(config):
    """A job, once its queries are loaded."""
    return data.StructLayout(
        {
            "bank": 1,
            "tag": JOB_BITS,
            "heads": range(config.max_heads + 1),
            "beats": BEATS_BITS,
            "format": Format,
            "q_bf16": 1,
            "k_exp": EXPONENT_BITS,
            "v_exp": EXPONENT_BITS,
            "scale_mant": 26,
            "scale_exp": signed(6),
            "q_exp": data.ArrayLayout(EXPONENT_BITS, config.max_heads),
        }
    )


def estimate_layout(config):
    """How the scores of a head are estimated; steady while its beats come."""
    heads = config.max_heads
    return data.StructLayout(
        {
            "bank": 1,  # of the queries
            "heads": range(heads + 1),
            "channels": range(config.max_head_dim + 1),  # columns of each unit
            "mask": config.max_head_dim,  # channels of the head that count
            "k_bf16": 1,
            "q_bf16": 1,
            "k_exp": data.ArrayLayout(EXPONENT_BITS, config.max_passes),
            "q_exp": data.ArrayLayout(EXPONENT_BITS, heads),
            "scale_mant": data.ArrayLayout(SCALE_BITS, heads),
            "scale_exp": data.ArrayLayout(signed(SCALE_EXP_BITS), heads),
            **({"bounds": 1} if config.bounds else {}),  # from bounds of K; channels are all
        }
    )


def report_layout(config):
    """A channel's K pass is complete: the ceiling of its largest score per head."""
    return data.StructLayout(
        {
            "empty": 1,  # the channel has no token of the job; m means nothing
            "saturated": config.max_heads,  # mask of heads with a score beyond its format
            "poisoned": 1,  # uncorrectable data, or more tokens than the channel can hold
            "m": data.ArrayLayout(signed(REFERENCE_BITS), config.max_heads),
        }
    )


def reference_layout(config):
    """The reference M of every head, over all channels."""
    return data.StructLayout(
        {
            "bank": 1,
            "m": data.ArrayLayout(signed(REFERENCE_BITS), config.max_heads),
        }
    )


def product_layout():
    """A product before its rounding: the number is ``p + half``."""
    return data.StructLayout({"p": signed(PRODUCT_BITS), "half": 1})


def beat_meta_layout(config):
    """What travels with a beat's products."""
    rows = max(config.max_beats, config.unit_beats) if config.sparse_tokens else config.max_beats
    return data.StructLayout(
        {
            **(_estimate_meta(config) if config.sparse_tokens else {}),
            "pass_v": 1,
            "bank": 1,
            "row": range(rows),
            "heads": config.max_heads,  # mask of the job's query heads
            "null": 1,
            "first_of_unit": 1,
            "last_of_unit": 1,
            "first_token": 1,  # first unit of the channel's pass
            "last_of_pass": 1,
            "poisoned": 1,  # with last_of_pass: some beat of the pass was bad
        }
    )


def _estimate_meta(config):
    return {
        "estimate": 1,  # a beat that scores are estimated of; nothing of it is for the passes
        "column": 1,
        "query": range(config.max_head_dim),  # its first query element
        "wanted": LANES_FP16,  # lanes whose channel counts
        "place": JOB_BITS,  # pass of its tokens
        "first_column": 1,  # of its unit
        "completes": 1,  # last beat of the last column of its unit
        "sums": 1,  # bank of column sums
        **({"more": 2} if config.bounds else {}),  # tokens beyond one that its unit stands for
    }


def weight_layout(config):
    """Weights of one token, for every head, as `kernels.weight` gives them."""
    a, drop = (kernels.weight.outputs[name].width for name in ("a", "drop"))
    return data.StructLayout(
        {
            "a": data.ArrayLayout(a, config.max_heads),
            "drop": data.ArrayLayout(drop, config.max_heads),
        }
    )


def merge_job_layout(config):
    """What the merge needs to know of a job."""
    return data.StructLayout(
        {
            "tag": JOB_BITS,
            "first": 1,
            "last": 1,
            "partial": 1,
            "heads": range(config.max_heads + 1),
            "beats": BEATS_BITS,
            "v_exp": signed(kernels.normalise.inputs["v_exp"].width),  # less 112 if V is BF16
            "bf16": 1,  # format of the result
            "nan": config.max_heads,  # mask of heads whose output is NaN
        }
    )


def merge_facts_layout(config):
    """What the K pass found, over all channels."""
    return data.StructLayout(
        {
            "saturated": config.max_heads,
            "poisoned": 1,
            "m": data.ArrayLayout(signed(REFERENCE_BITS), config.max_heads),
        }
    )


def result_layout():
    """One word of output; the flags are valid with ``last``."""
    return data.StructLayout(
        {
            "data": 64,  # four elements, the first in the low bits; or a word of a partial
            "last": 1,  # last word of the chain
            "job": JOB_BITS,  # tag of its last job
            "saturated": 1,
            "nonfinite": 1,
            "poisoned": 1,
        }
    )

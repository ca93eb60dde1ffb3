"""Beats and jobs: what the attention engine sees of the drive around it.

A *page source* (NAND channel, tail in device DRAM, later an AXI memory) turns page requests into
beats; the engine knows only beats. Everything a beat means travels with it.

The stream of one channel, for every job, is one K pass and one V pass::

    job 0 K ... last_of_pass | job 1 K ... last_of_pass | job 0 V ... last_of_pass | job 2 K ...

With sparse attention, estimates of a head come in between, at any place (see
`hls_attention.estimator`): columns and tokens that are only estimated, then one null beat of kind
COLUMN with ``last_of_pass``. Their ``job`` is the number of the pass that the token belongs to. An
estimate from bounds has, in place of columns, whole blocks of bytes of bounds, a beat 8 channels;
and of its tokens 4 together make bounds, or fewer, where ``last_of_page`` says so.

Rules a page source keeps (and the engine relies on):

- Each channel gets, for each job, exactly one K pass and then exactly one V pass; a pass ends with
  the one beat that has ``last_of_pass``. A channel without a token of the job gets a *null beat*
  (``lanes == 0``, ``last_of_pass == 1``), which contributes nothing.
- Within a channel, the tokens of the V pass come in the order of the tokens of the K pass.
- K passes come in job order, V passes come in job order; the K pass of job ``n + 1`` may come
  before the V pass of job ``n``, never that of job ``n + 2``.
- A *unit* is one token's K (or V) vector: ``head_dim / 4`` consecutive FP16 beats, element 0 in the
  lowest lane of the first beat.
"""

from amaranth.hdl import signed
from amaranth.lib import data, enum

__all__ = [
    "BEATS_BITS",
    "BEAT_BITS",
    "EXPONENT_BITS",
    "LANES_FP16",
    "TOKEN_BITS",
    "JOB_BITS",
    "Kind",
    "Format",
    "beat_layout",
    "job_layout",
    "pair_layout",
]

BEAT_BITS = 64
"""Payload of one beat."""

LANES_FP16 = 4
"""Elements per beat for 16-bit formats."""

TOKEN_BITS = 17
"""A token's index inside its pass (up to 131,072)."""

BEATS_BITS = 7
"""Beats of one unit: head_dim / 4, at most 64."""

EXPONENT_BITS = 8
"""Block exponents."""

JOB_BITS = 4
"""Job tag: the job's number modulo 16, counted from reset."""


class Kind(enum.Enum, shape=3):
    """What a beat carries."""

    K = 0
    V = 1
    COLUMN = 2  # K by channel: one channel of 4 tokens; ``token`` is the channel
    ESTIMATE = 3  # K of a token whose score is estimated
    BOUNDS = 4  # bytes of `hls_attention.bounds_code`: a unit of beats is one of 4 tokens


class Format(enum.Enum, shape=3):
    """Format of elements."""

    FP16 = 0
    BF16 = 1


def beat_layout():
    """Layout of one beat (64 data bits and its tags)."""
    return data.StructLayout(
        {
            "data": BEAT_BITS,  # elements, lane 0 in the low bits
            "lanes": LANES_FP16,  # which lanes hold an element; 0 marks a null beat
            "kind": Kind,
            "format": Format,
            "job": JOB_BITS,
            "token": TOKEN_BITS,  # index of the unit's token inside the pass
            "first_of_unit": 1,
            "last_of_unit": 1,
            "last_of_page": 1,
            "last_of_pass": 1,
            "error": 1,  # data is uncorrectable: the job is poisoned
        }
    )


def pair_layout():
    """Layout of a beat with a second number in each lane: see `hls_attention.bounds_pairs`."""
    return data.StructLayout(
        {
            **{name: field.shape for name, field in beat_layout()},
            "high": BEAT_BITS,
            "more": 2,  # tokens beyond the first that the unit stands for
        }
    )


def job_layout(max_heads):
    """Layout of a job: one pass over one (sequence, layer, KV head) for ``heads`` query heads.

    A *chain* of jobs, from ``first`` to ``last``, makes one result: the passes of a sequence that
    is longer than one. They come one after the other and differ in ``tag`` and block exponents
    alone; each brings its queries. With ``partial`` the sums of each pass are the result.

    Parameters
    ----------
    max_heads : int
        Most query heads per KV head that the engine was built with.
    """
    return data.StructLayout(
        {
            "tag": JOB_BITS,
            "first": 1,
            "last": 1,
            "partial": 1,
            "heads": range(max_heads + 1),  # 1..max_heads query heads share this KV head
            "beats": BEATS_BITS,  # head_dim / 4: beats of one unit
            "format": Format,  # of K and V
            "q_format": Format,  # of q and of the result
            "k_exp": EXPONENT_BITS,  # block exponent of K: largest max(exponent field, 1) - 1
            "v_exp": EXPONENT_BITS,  # the same of V
            "k_bad": 1,  # K holds an infinity or NaN
            "v_bad": 1,  # V holds an infinity or NaN
            "together": 1,  # with an infinity or NaN in one of the queries, all outputs are NaN
            "scale_mant": 26,  # scale * log2(e) = scale_mant * 2**(scale_exp - 26),
            "scale_exp": signed(6),  # 2**25 <= scale_mant < 2**26
        }
    )

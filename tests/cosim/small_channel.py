"""A channel of few pages and short times, two codewords a page, for `cosim.channel_lane`."""

import dataclasses
from types import SimpleNamespace

import numpy as np

from cosim.channel_lane import JOB
from flash_model.profiles import profile
from rtl.ecc.placement import strongest
from rtl.ecc.rates import sizes_for
from rtl.nand.operations import NandOp
from rtl.read_counts import count_bits

__all__ = [
    "CODE",
    "CODEWORDS",
    "CONFIG",
    "ERASE",
    "GEOMETRY",
    "PROGRAM",
    "READ",
    "WORDS",
    "job_list",
]

READ, PROGRAM, ERASE = (op.value for op in (NandOp.READ, NandOp.PROGRAM, NandOp.ERASE))

_TINY = profile("tiny")
GEOMETRY = dataclasses.replace(
    _TINY.geometry, channels=1, dies=4, blocks=3, pages=8, page_bytes=1024, spare_bytes=48
)
CODE = strongest(GEOMETRY, 512)
WORDS, CODEWORDS = GEOMETRY.page_bytes // 8, GEOMETRY.page_bytes // CODE.data_bytes

CONFIG = SimpleNamespace(
    flash=dataclasses.replace(_TINY, geometry=GEOMETRY),
    dies=GEOMETRY.dies,
    clock_hz=250_000_000,
    reads_ahead=8,
    page_store="nand",
    code=CODE,
    decoder_channels=1,
    decoder_sizes=sizes_for(CODE, 1e-4),
    count_bits=count_bits(500_000),
)


def job_list(jobs):
    """(op, die, row, after) as an array; ``after`` None: nothing."""
    out = np.zeros(len(jobs), JOB)
    for number, (op, die, row, after) in enumerate(jobs):
        out[number] = op, die, row, number if after is None else after, 0, 0, 0, 0
    return out

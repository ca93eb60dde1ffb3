"""Whether a drive fits a board's FPGA, estimated in no time from what synthesis counted once.

The coefficients are fits to `instinfer area` (docs/area.md: 7 series, yosys) over query heads,
strengths of the code and shared decoders; `tests/host/boards/test_fit.py` holds them to the figures
there. What synthesis of a certain drive counts, `instinfer area --board` tells, in minutes.
"""

import dataclasses
from dataclasses import dataclass

from rtl.config import ConfigError

from ..options import BadOption

__all__ = ["Estimate", "TooLarge", "check_fit", "estimate"]

FIGURES = {"lut": "LUT", "bram36": "BRAM36", "dsp": "DSP"}


class TooLarge(BadOption):
    """A drive does not fit a part; the message says by how much, and what would."""


@dataclass(frozen=True)
class Estimate:
    """What a drive takes, about: LUT, block RAM of 36 kbit, DSP."""

    lut: int
    bram36: int
    dsp: int


def estimate(config):
    """What a drive takes of an FPGA, about.

    Parameters
    ----------
    config : rtl.config.DriveConfig

    Returns
    -------
    Estimate
        Within a tenth of what yosys counts, of LUT; block RAM and DSP are rougher.
    """
    heads, t, sizes = config.max_queries_per_kv, config.code.t, config.decoder_sizes
    searches = sizes.positions * (t + 1)
    engine = 1970 + 1280 * heads
    flash = 4320 + 1273 + 1153 + 78 * t  # controller and queues, reader, writer, encoder
    key = 130 * t * (1 + (sizes.lanes - 1) / 12)
    search = 16.8 * searches
    if config.decoder_channels == 1:
        decoders = config.channels * (2200 + 129 * t + key + search)
    else:
        groups = config.channels / config.decoder_channels
        decoders = config.channels * (1800 + 83 * t) + groups * (1700 + key + search)
    blocks = config.dies * config.flash.geometry.blocks
    counts = blocks * config.count_bits / 36_864  # rtl.read_counts
    sparse = config.channels * 6375 if config.sparse_tokens else 0
    return Estimate(
        lut=round(config.channels * (engine + flash) + decoders + sparse + 18_700),
        bram36=round(
            config.channels * (6.1 * heads * config.max_head_dim / 128 + 5.5 + 1.1 * counts)
            + 55
            + (config.channels * 24.7 if config.sparse_tokens else 0)
        ),
        dsp=round(config.channels * (4 * heads + 11 + (9 if config.sparse_tokens else 0)) + 24),
    )


def check_fit(config, part):
    """`TooLarge` where a drive will not fit a part.

    Parameters
    ----------
    config : rtl.config.DriveConfig
    part : rtl.boards.Part

    Returns
    -------
    dict
        ``lut``, ``bram36``, ``dsp``: estimated share of the part.
    """
    shares = _shares(config, part)
    worst = max(shares, key=lambda name: shares[name])
    if shares[worst] <= 1:
        return shares
    count = getattr(estimate(config), worst)
    fitting, smaller = [], []
    for field, value in _alternatives(config):
        try:
            other = dataclasses.replace(config, **{field: value})
        except ConfigError:
            continue
        share = max(_shares(other, part).values())
        if share < max(shares.values()):
            (fitting if share <= 1 else smaller).append((field, value, share))
    there = getattr(part, worst)
    said = ", or ".join(
        f"--set {field}={value} ({share:.0%})" for field, value, share in fitting[:3]
    )
    if not fitting:
        best = {field: (value, share) for field, value, share in reversed(smaller)}
        said = "no one field alone makes it fit"
        said += "; smaller become " * bool(best) + ", ".join(
            f"--set {field}={value} ({share:.0%})" for field, (value, share) in best.items()
        )
    raise TooLarge(
        f"this drive does not fit the {part.name}: an estimated {count:,} {FIGURES[worst]} of "
        f"{there:,}, {count / there:.0%}, {count - there:,} too many. Turn down: {said}. "
        "Or write the folder all the same with --oversize"
    )


def _shares(config, part):
    found = estimate(config)
    return {name: getattr(found, name) / getattr(part, name) for name in FIGURES}


def _alternatives(config):
    """Smaller values of the fields that matter most, the mildest first."""
    for channels in (2, 4, 8, 16):
        if config.decoder_channels < channels <= config.channels:
            yield "decoder_channels", channels
    for t in (40, 27, 16, 12, 8):
        if t < config.code.t:
            yield "correctable_bits", t
    if config.sparse_tokens:
        yield "sparse_tokens", 0
    for heads in (4, 2, 1):
        if heads < config.max_queries_per_kv:
            yield "max_queries_per_kv", heads
    for channels in (8, 4, 2, 1):
        if channels < config.channels:
            yield "channels", channels

"""One bit more until it fails: 0, 1, .. t errors of a codeword are corrected, t + 1 are told.

Each step adds one bit to those of the step before, in the compiled decoders of the presets.
"""

import zlib

import numpy as np
import pytest

from rtl.config import PRESETS, DriveConfig
from rtl.ecc.code import BchCode
from rtl.ecc.rates import sizes_for
from rtl.ecc.scrambler import keystream, seed
from rtl.pages.codec import encode_pages
from tests.rtl.ecc.compiled import decode, decoder_lane
from tests.rtl.ecc.patterns import flip

ROWS = 12
"""Codewords, each in a row of flash of its own."""


def places(rng, code, row):
    """Bits of a codeword in the order in which they fail."""
    if row == 0:
        return np.arange(code.bits)  # from the first one on
    if row == 1:
        return np.arange(code.bits)[::-1]  # from the last bit of the parity on
    if row == 2:
        begin = rng.integers(code.bits - code.t)
        return np.arange(begin, begin + code.t + 1)  # side by side
    return rng.permutation(code.bits)


def steps(code, rng, rows):
    """Codewords of random data, and what is received of them with 0, 1, .. t + 1 errors.

    Returns
    -------
    sent : uint64 array [rows, words]
    received : uint64 array [rows, t + 2, words]
    """
    data = rng.integers(0, 256, (rows, code.data_bytes), np.uint8)
    sent = encode_pages(code, range(rows), [bytes(8)] * rows, data).view("<u8").astype(np.uint64)
    received = np.repeat(sent[:, None], code.t + 2, axis=1)
    for row in range(rows):
        order = places(rng, code, row)
        for errors in range(code.t + 2):
            flip(received[row], errors, order[:errors])
    return sent, received


def crc_fits(code, row, message):
    """Whether a message read from a row of flash is what was written there, by zlib."""
    plain = message ^ keystream([seed(row, 0)], code.message_words)[0]
    octets = plain.astype("<u8").tobytes()
    return zlib.crc32(octets[:-4]) == int.from_bytes(octets[-4:], "little")


def check(code, sizes, rng_seed, rows=ROWS):
    """How many of the codewords with t + 1 errors became another codeword."""
    rng = np.random.default_rng(rng_seed)
    sent, received = steps(code, rng, rows)
    lane = decoder_lane(code, sizes)
    got, corrected, bad, _ = decode(lane, code, received.reshape(-1, code.words))
    got = got.reshape(rows, code.t + 2, -1)
    corrected, bad = corrected.reshape(rows, -1), bad.reshape(rows, -1)
    good = np.broadcast_to(sent[:, None, : code.message_words], got[:, :-1].shape)
    assert (got[:, :-1] == good).all() and not bad[:, :-1].any()
    assert (corrected[:, :-1] == np.arange(code.t + 1)).all()
    missed = np.flatnonzero(~bad[:, -1])
    for row in range(rows):
        assert crc_fits(code, row, got[row, code.t])
        assert bad[row, -1] or not crc_fits(code, row, got[row, -1]), f"row {row}"
    return len(missed)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "rng_seed", [1, *(pytest.param(n, marks=pytest.mark.soak) for n in (2, 3))]
)
def test_presets(preset, rng_seed):
    config = DriveConfig.preset(preset)
    assert check(config.code, config.decoder_sizes, rng_seed) == 0


def test_what_a_short_code_misses_the_crc_tells():
    """With t = 2, one pattern of 3 errors in eight becomes another codeword (docs/ecc.md)."""
    code = BchCode(512, 2)
    assert 0 < check(code, sizes_for(code, 1e-4), 4, rows=200) < 60


@pytest.mark.soak
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_with_many_codewords(preset):
    config = DriveConfig.preset(preset)
    for rng_seed in range(100, 200):
        check(config.code, config.decoder_sizes, rng_seed)

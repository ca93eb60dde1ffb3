"""Bytes of bounds: decoded they are what the golden model says; what no golden model is of."""

import ml_dtypes
import numpy as np
import pytest
import torch

from cosim.golden_bounds import coded_bounds, exact_bounds
from hls_attention.bounds_code import BLOCK_TOKENS, decode, encode, extremes
from hls_attention.formats import BF16, FP16

FORMATS = [(FP16, torch.float16), (BF16, torch.bfloat16)]


def finite_words(format, rng, shape):
    """Elements whose exponents are near each other in each channel, and some anywhere."""
    words = rng.integers(0, 1 << 16, shape)
    field = rng.integers(0, format.top_field, shape[-1]) + rng.integers(-3, 1, shape)
    field = np.where(rng.random(shape) < 0.02, words >> 3, field).clip(0) % format.top_field
    fraction = (1 << format.fraction_bits) - 1
    words = (words & (0x8000 | fraction)) | (field << format.fraction_bits)
    return words.astype(np.uint16).view(format.dtype)


@pytest.mark.parametrize("format, dtype", FORMATS, ids=lambda x: getattr(x, "name", ""))
@pytest.mark.parametrize("seed", range(3))
def test_decoded_as_the_golden_model_has_them(format, dtype, seed):
    rng = np.random.default_rng(seed)
    k = finite_words(format, rng, (8 * BLOCK_TOKENS, 256))
    exact = torch.from_numpy(k.view(np.uint16)).view(dtype).double()[None]
    for mine, golden in (
        (extremes(k), exact_bounds(exact)),
        (decode(encode(k), k.dtype), coded_bounds(exact, dtype)),
    ):
        for one, other in zip(mine, golden, strict=True):
            assert np.array_equal(one.astype(np.float64), other[0].numpy())


def test_every_code():
    """All bytes at every exponent: sign, size, no subnormal numbers, at most the largest number."""
    for format, _ in FORMATS:
        exponents = np.arange(1, format.top_field)
        code = np.arange(128)[:, None] | np.zeros_like(exponents)
        units = code[:, None, :] | ((exponents >> np.arange(8)[:, None] & 1) << 7)
        low, high = decode(units.reshape(-1, len(exponents)).astype(np.uint8), format.dtype)
        low, high = (x.reshape(128, 8, -1)[:, 0].astype(np.float64) for x in (low, high))
        most = float(ml_dtypes.finfo(format.dtype).max)
        count = ((code & 15) ^ 8) - 8
        size = 2.0 ** (exponents - format.bias)
        assert np.array_equal(low, (count * size).clip(-most, most))
        assert np.array_equal(high, ((count + (code >> 4)) * size).clip(-most, most))


def test_infinities_and_nan_give_bytes():
    k = np.resize(np.array([np.inf, -np.inf, np.nan, 1], np.float16), (BLOCK_TOKENS, 64))
    assert encode(k).shape == (8, 64)


def test_blocks_must_be_whole():
    with pytest.raises(ValueError, match="33 tokens are not whole blocks: give a multiple of 32"):
        encode(np.zeros((33, 64), np.float16))

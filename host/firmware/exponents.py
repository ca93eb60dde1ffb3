"""Block exponents and non-finite marks of K and V, as the append path follows them."""

import numpy as np

__all__ = ["token_exponents", "pass_exponents"]


def token_exponents(x, format):
    """Block exponent and non-finite mark of each token alone.

    Parameters
    ----------
    x : array [..., tokens, head_dim]
        Elements of a format, or their bits as uint16.
    format : hls_attention.formats.Format

    Returns
    -------
    exponent : uint8 array [..., tokens]
        Largest ``max(exponent field, 1) - 1``.
    bad : bool array [..., tokens]
        Whether there is an infinity or NaN.
    """
    field = x.view(np.uint16) >> format.fraction_bits & format.top_field
    exponent = (np.maximum(field, 1) - 1).max(axis=-1).astype(np.uint8)
    return exponent, (field == format.top_field).any(axis=-1)


def pass_exponents(exponent, bad, pass_tokens):
    """The same of each pass, the last one perhaps not full: two lists of int.

    Parameters
    ----------
    exponent, bad : arrays [tokens]
    pass_tokens : int
    """
    starts = np.arange(0, len(exponent), pass_tokens)
    if not len(starts):
        return [], []
    return (
        np.maximum.reduceat(exponent, starts).tolist(),
        np.logical_or.reduceat(bad, starts).astype(int).tolist(),
    )

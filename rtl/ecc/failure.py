"""How often a codeword has how many errors, if bits fail independently of each other."""

from math import exp, fsum, lgamma, log, log1p

__all__ = ["error_counts", "failure_rate"]


def error_counts(code, bit_error_rate):
    """Probabilities of 0, 1, .. t errors in a codeword.

    Parameters
    ----------
    code : BchCode
    bit_error_rate : float
        Raw bit error rate, above 0 and below 1.

    Returns
    -------
    list of float
    """
    return [_binomial(code.bits, errors, bit_error_rate) for errors in range(code.t + 1)]


def failure_rate(code, bit_error_rate):
    """Probability of more than t errors in a codeword, see `error_counts`."""
    n = code.bits
    if n * bit_error_rate > code.t:
        return 1 - fsum(error_counts(code, bit_error_rate))
    tail = []  # beyond the mean each term is smaller than the one before
    for errors in range(code.t + 1, n + 1):
        tail.append(_binomial(n, errors, bit_error_rate))
        if tail[-1] < 1e-18 * tail[0] or tail[-1] == 0:
            break
    return fsum(tail)


def _binomial(n, k, p):
    if not 0 < p < 1:
        raise ValueError(f"a bit error rate of {p!r} is not possible: give one above 0 and below 1")
    ways = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return exp(ways + k * log(p) + (n - k) * log1p(-p))

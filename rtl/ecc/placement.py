"""Where codewords go in a page: one after the other, each with its check and parity words.

::

    | data, check, parity | data, check, parity | ... | what is left of the spare bytes |

So any range of codewords is one range of columns. Every codeword of a page has the same code: the
strongest that the spare bytes, divided evenly, have parity for, or a weaker one that leaves more of
them unused and costs less.
"""

from functools import cache

from .code import MOST_ERRORS, BchCode

__all__ = ["PAGE_META_BITS", "check_words", "meta_parts", "of_strength", "spare_left", "strongest"]

PAGE_META_BITS = 64
"""Metadata of a page (`rtl.tables.PAGE_META`), dealt to its codewords."""


def spare_left(geometry, code):
    """Spare bytes of a page that its codewords leave; negative if they do not fit.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    code : BchCode
    """
    if geometry.page_bytes % code.data_bytes:
        raise ValueError(
            f"pages of {geometry.page_bytes} bytes cannot be cut into codewords of "
            f"{code.data_bytes}: choose data_bytes that divide the page"
        )
    return geometry.spare_bytes - geometry.page_bytes // code.data_bytes * code.spare_bytes


def check_words(geometry, data_bytes):
    """Check words of a codeword, so that a page has room for `PAGE_META_BITS` of metadata."""
    codewords = geometry.page_bytes // data_bytes
    return 1 if 32 * codewords >= PAGE_META_BITS else 2


def meta_parts(code):
    """Codewords that a page's metadata are dealt to, before they begin again."""
    return max(1, PAGE_META_BITS // code.meta_bits)


@cache
def strongest(geometry, data_bytes, *, left_bytes=0):
    """The code with the largest t whose check and parity words fit the spare bytes.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    data_bytes : int
        512 or 1024.
    left_bytes : int
        Spare bytes of a page to be left for other use.

    Returns
    -------
    BchCode
    """
    for t in range(MOST_ERRORS, 1, -1):
        code = BchCode(data_bytes, t, check_words(geometry, data_bytes))
        if spare_left(geometry, code) >= left_bytes:
            return code
    raise ValueError(
        f"no code of t = 2 or more fits {geometry.spare_bytes} spare bytes beside {left_bytes} to "
        "be left: choose longer codewords or leave less"
    )


def of_strength(geometry, data_bytes, t):
    """The code that corrects t bit errors of each codeword.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    data_bytes : int
        512 or 1024.
    t : int
        2 up to that of `strongest`; 0 for that.

    Returns
    -------
    BchCode
    """
    best = strongest(geometry, data_bytes)
    if t == 0:
        return best
    if not 2 <= t <= best.t:
        raise ValueError(
            f"t = {t!r} is not possible: choose 2..{best.t} bit errors, what "
            f"{geometry.spare_bytes} spare bytes have parity for with codewords of {data_bytes}, "
            f"or 0 for {best.t}"
        )
    return BchCode(data_bytes, t, best.check_words)

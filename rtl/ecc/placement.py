"""Where codewords go in a page: data in the page's data bytes, check and parity words in its spare.

The spare bytes are divided evenly: every codeword of a page has the same code.
"""

from .code import MOST_ERRORS, BchCode

__all__ = ["spare_left", "strongest"]


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


def strongest(geometry, data_bytes, *, metadata_bytes=0):
    """The code with the largest t whose check and parity words fit the spare bytes.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    data_bytes : int
        512 or 1024.
    metadata_bytes : int
        Spare bytes of a page to be left for other use.

    Returns
    -------
    BchCode
    """
    for t in range(MOST_ERRORS, 1, -1):
        code = BchCode(data_bytes, t)
        if spare_left(geometry, code) >= metadata_bytes:
            return code
    raise ValueError(
        f"no code of t = 2 or more fits {geometry.spare_bytes} spare bytes beside "
        f"{metadata_bytes} of metadata: choose longer codewords or less metadata"
    )

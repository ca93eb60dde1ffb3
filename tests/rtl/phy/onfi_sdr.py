"""ONFI's SDR times once more, row by mode, as the tests know them: typed apart from the PHY's."""

__all__ = ["ONFI_SDR"]

_NAMES = (
    "ADL ALH ALS AR CEA CEH CH CHZ CLH CLR CLS CS DH DS IR "
    "RC REA REH RHOH RHW RHZ RLOH RP RR WB WC WH WHR WP WW"
).split()

_ROWS = """\
400 20 50 25 100 20 20 100 20 20 50 70 20 40 10 100 40 30  0 200 200 0 50 40 200 100 30 120 50 100
400 10 25 10  45 20 10  50 10 10 25 35 10 20  0  50 30 15 15 100 100 0 25 20 100  45 15  80 25 100
400 10 15 10  30 20 10  50 10 10 15 25  5 15  0  35 25 15 15 100 100 0 17 20 100  35 15  80 17 100
400  5 10 10  25 20  5  50  5 10 10 25  5 10  0  30 20 10 15 100 100 0 15 20 100  30 10  80 15 100
400  5 10 10  25 20  5  30  5 10 10 20  5 10  0  25 20 10 15 100 100 5 12 20 100  25 10  80 12 100
400  5 10 10  25 20  5  30  5 10 10 15  5  7  0  20 16  7 15 100 100 5 10 20 100  20  7  80 10 100
"""

ONFI_SDR = [dict(zip(_NAMES, map(int, row.split()), strict=True)) for row in _ROWS.splitlines()]
"""Mode -> name without its t -> ns."""

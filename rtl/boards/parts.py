"""FPGAs of the boards, and what is in them."""

from dataclasses import dataclass

__all__ = ["PARTS", "Part"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """An FPGA.

    Parameters
    ----------
    name : str
        What people call it.
    vivado : str
        What Vivado calls it: device, package, speed grade.
    family : str
        What `cosim.yosys` maps to: ``xc7`` (7 series) or ``xcup`` (UltraScale+).
    lut, ff, bram36, uram, dsp : int
        What there is of each.
    source : str
        Where these figures are from.
    """

    name: str
    vivado: str
    family: str
    lut: int
    ff: int
    bram36: int
    uram: int
    dsp: int
    source: str


PARTS = {
    part.name: part
    for part in (
        Part(
            name="XC7Z045",
            vivado="xc7z045ffg900-3",
            family="xc7",
            lut=218_600,
            ff=437_200,
            bram36=545,
            uram=0,
            dsp=900,
            source="AMD DS190",
        ),
        Part(
            name="ZU17EG",
            vivado="xczu17eg-ffvc1760-2-e",
            family="xcup",
            lut=423_403,
            ff=846_806,
            bram36=796,
            uram=102,
            dsp=1590,
            source="AMD DS891",
        ),
        Part(
            name="KU15P",
            vivado="xcku15p-ffva1156-2LV-e",
            family="xcup",
            lut=522_720,
            ff=1_045_440,
            bram36=984,
            uram=128,
            dsp=1968,
            source="AMD DS890",
        ),
    )
}
"""Parts by name."""

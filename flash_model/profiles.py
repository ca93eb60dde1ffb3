"""Named flash profiles: all parameters of a part, and where each comes from."""

import dataclasses
from dataclasses import dataclass, field

from .endurance import Endurance
from .energy import Energy
from .geometry import Geometry
from .timing import Timing

__all__ = ["Profile", "PROFILES", "profile"]


_PARTS = (Geometry, Timing, Endurance, Energy)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A named set of flash parameters.

    Parameters
    ----------
    name : str
        What `profile` knows it by.
    geometry : Geometry
    timing : Timing
    endurance : Endurance
    energy : Energy
    sources : dict of str to str
        For every parameter of the four: "datasheet ...", "paper ...", "standard ...",
        "simulator ..." or "assumed ...".
    """

    name: str
    geometry: Geometry
    timing: Timing
    endurance: Endurance
    energy: Energy
    sources: dict[str, str] = field(hash=False)

    def __post_init__(self):
        wanted = {f.name for part in _PARTS for f in dataclasses.fields(part)}
        if wrong := wanted ^ set(self.sources):
            raise ValueError(
                f"sources of profile {self.name!r} and its parameters differ in {sorted(wrong)}"
            )

    def table(self):
        """Rows (parameter, value, source) of everything in the profile."""
        values = {}
        for part in (self.geometry, self.timing, self.endurance, self.energy):
            values |= dataclasses.asdict(part)
        return [(name, value, self.sources[name]) for name, value in values.items()]


def _profile(name, table):
    def part(kind):
        return kind(**{f.name: table[f.name][0] for f in dataclasses.fields(kind)})

    sources = {key: source for key, (_, source) in table.items()}
    return Profile(
        name=name,
        geometry=part(Geometry),
        timing=part(Timing),
        endurance=part(Endurance),
        energy=part(Energy),
        sources=sources,
    )


_PAPER = "paper: InstAttention (HPCA'25), section on the evaluation platform"
_MQSIM = "assumed: NV-DDR2 parameter set of the MQSim simulator"
_DBSY = "assumed: tDBSY of the same set, which gives no time for cache reads and programs"
_FEAT = "standard: ONFI, tFEAT at most 1 us"
_CURRENT = "assumed: usual bound of a NAND data sheet for an operation of one die"
_ELECTRICAL = {
    "supply_v": (3.3, "assumed: usual core supply; many parts of today take 2.5 V"),
    "i_read_ma": (25, _CURRENT),
    "i_program_ma": (25, _CURRENT),
    "i_erase_ma": (25, _CURRENT),
    "io_pj_per_bit": (10, "assumed: a bus of some 5 pF at 1.2 to 1.8 V with its drivers"),
}
_V6 = "assumed: bound published for Samsung's 6th-generation V-NAND TLC"
_TEST = "assumed: chosen for short unit tests"

PROFILES = {
    p.name: p
    for p in (
        _profile(
            "paper",
            {
                "channels": (8, _PAPER),
                "dies": (16, "assumed: the paper does not say; covers tR by page transfers"),
                "planes": (1, "assumed: the paper does not say"),
                "blocks": (512, "assumed: makes 128 GiB with 8 channels of 16 dies"),
                "pages": (512, "assumed: the paper says several hundred pages per block"),
                "page_bytes": (4096, _PAPER),
                "spare_bytes": (224, "datasheet: Micron MT29F16G (the paper does not say)"),
                "rate_mts": (1400, f"{_PAPER}: 1.4 GB/s per channel"),
                "t_wc_ns": (25, _MQSIM),
                "t_wb_ns": (100, _MQSIM),
                "t_rr_ns": (20, _MQSIM),
                "t_whr_ns": (80, "assumed: ONFI SDR timing modes 1 to 5"),
                "t_rhw_ns": (100, _MQSIM),
                "t_adl_ns": (70, _MQSIM),
                "t_ccs_ns": (300, _MQSIM),
                "t_rpre_ns": (15, _MQSIM),
                "t_dqsre_ns": (15, _MQSIM),
                "t_r_ns": (45_000, f"{_V6} (under 45 us)"),
                "t_prog_ns": (450_000, f"{_V6} (under 450 us)"),
                "t_bers_ns": (3_500_000, "assumed: SimpleSSD's MLC default"),
                "t_rst_ns": (5_000, "assumed: usual bound for a reset while ready"),
                "t_rcbsy_ns": (500, _DBSY),
                "t_pcbsy_ns": (500, _DBSY),
                "t_feat_ns": (1_000, _FEAT),
                **_ELECTRICAL,
                "bits_per_cell": (3, _V6),
                "bad_blocks": (10, "assumed: 2 % of the blocks"),
                "erases": (3_000, "assumed: TLC, 1000 to 3000 cycles"),
                "ecc_bits": (72, "datasheet: 72 bits in 1 KiB, of Transcend controllers"),
            },
        ),
        # One plane is used at a time: multi-plane commands are not modelled, planes is recorded.
        _profile(
            "tlc_onfi5",
            {
                "channels": (8, "assumed: common for enterprise drives"),
                "dies": (16, "assumed: fills the bus at one plane per die with margin"),
                "planes": (4, "assumed: usual for such parts; recorded, commands use one"),
                "blocks": (2048, "assumed: about MT29F128G (2 x 1048), a power of two"),
                "pages": (512, "datasheet: Micron MT29F128G, 512 pages per block"),
                "page_bytes": (16384, "datasheet: Micron MT29F128G, 16384 + 1872 byte pages"),
                "spare_bytes": (1872, "datasheet: Micron MT29F128G, 16384 + 1872 byte pages"),
                "rate_mts": (2400, "standard: ONFI 5.0, NV-LPDDR4 up to 2400 MT/s"),
                "t_wc_ns": (25, _MQSIM),
                "t_wb_ns": (100, _MQSIM),
                "t_rr_ns": (20, _MQSIM),
                "t_whr_ns": (80, "assumed: ONFI SDR timing modes 1 to 5"),
                "t_rhw_ns": (100, _MQSIM),
                "t_adl_ns": (70, _MQSIM),
                "t_ccs_ns": (300, _MQSIM),
                "t_rpre_ns": (15, _MQSIM),
                "t_dqsre_ns": (15, _MQSIM),
                "t_r_ns": (50_000, "assumed: 40-60 us is plausible for such parts"),
                "t_prog_ns": (500_000, "assumed: 400-700 us is plausible for such parts"),
                "t_bers_ns": (4_000_000, "assumed: 3-5 ms is plausible for such parts"),
                "t_rst_ns": (5_000, "assumed: usual bound for a reset while ready"),
                "t_rcbsy_ns": (500, _DBSY),
                "t_pcbsy_ns": (500, _DBSY),
                "t_feat_ns": (1_000, _FEAT),
                **_ELECTRICAL,
                "bits_per_cell": (3, "assumed: TLC"),
                "bad_blocks": (40, "assumed: 2 % of the blocks"),
                "erases": (3_000, "assumed: TLC, 1000 to 3000 cycles"),
                "ecc_bits": (72, "datasheet: 72 bits in 1 KiB, of Transcend controllers"),
            },
        ),
        _profile(
            "tiny",
            {
                "channels": (2, _TEST),
                "dies": (2, _TEST),
                "planes": (1, _TEST),
                "blocks": (64, _TEST),
                "pages": (16, _TEST),
                "page_bytes": (512, _TEST),
                "spare_bytes": (32, _TEST),
                "rate_mts": (1400, f"{_TEST}; that of the profile paper"),
                "t_wc_ns": (10, _TEST),
                "t_wb_ns": (20, _TEST),
                "t_rr_ns": (20, _TEST),
                "t_whr_ns": (30, _TEST),
                "t_rhw_ns": (30, _TEST),
                "t_adl_ns": (30, _TEST),
                "t_ccs_ns": (40, _TEST),
                "t_rpre_ns": (5, _TEST),
                "t_dqsre_ns": (5, _TEST),
                "t_r_ns": (2_000, _TEST),
                "t_prog_ns": (3_000, _TEST),
                "t_bers_ns": (5_000, _TEST),
                "t_rst_ns": (500, _TEST),
                "t_rcbsy_ns": (100, _TEST),
                "t_pcbsy_ns": (150, _TEST),
                "t_feat_ns": (200, _TEST),
                **_ELECTRICAL,
                "bits_per_cell": (1, _TEST),
                "bad_blocks": (4, _TEST),
                "erases": (100, _TEST),
                "ecc_bits": (8, _TEST),
            },
        ),
    )
}
"""Profiles by name."""


def profile(name):
    """The profile called ``name``."""
    if name not in PROFILES:
        raise ValueError(f"unknown flash profile {name!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]

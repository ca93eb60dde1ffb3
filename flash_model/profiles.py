"""Named flash profiles: all parameters of a part, and where each comes from."""

import dataclasses
from dataclasses import dataclass, field

from .endurance import Endurance
from .energy import Energy
from .geometry import Geometry
from .suspend import Suspend
from .timing import Timing

__all__ = ["COMMON", "PROFILES", "Profile", "make_profile", "profile"]


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
        "firmware ...", "simulator ..." or "assumed ...".
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


def make_profile(name, table):
    """A profile from a table of every parameter: name -> (value, source)."""

    def part(kind):
        return kind(**{f.name: table[f.name][0] for f in dataclasses.fields(kind)})

    return Profile(
        name=name,
        geometry=part(Geometry),
        timing=part(Timing),
        endurance=part(Endurance),
        energy=part(Energy),
        sources={key: source for key, (_, source) in table.items()},
    )


_PAPER = "paper: InstAttention (HPCA'25), section on the evaluation platform"
_MQSIM = "assumed: NV-DDR2 parameter set of the MQSim simulator"
_DBSY = "assumed: tDBSY of the same set, which gives no time for cache reads and programs"
_CURRENT = "assumed: usual bound of a NAND data sheet for an operation of one die"
_V6 = "assumed: bound published for Samsung's 6th-generation V-NAND TLC"
_COSMOS = "firmware: Cosmos+ OpenSSD, its Hynix MLC module"
_MT29F128G = "datasheet: Micron MT29F128G (none is published for the module's part)"
_SDR = "standard: ONFI SDR, mode 5"
_SDR_PHY = f"{_SDR}, and a word's time in the PHY (rtl.phy.sdr_timing)"
_NV_DDR = "standard: ONFI NV-DDR, mode 2"
_NV_DDR_PHY = f"{_NV_DDR}, and what pins take in the PHY (rtl.phy.nv_ddr_timing)"
_ZNAND = "paper: Samsung at ISSCC 2018 (48-layer Z-NAND, 64 Gb), as the press reported it"
_TEST = "assumed: chosen for short unit tests"
_DDR = "assumed: chosen, pages lie in a DDR4 memory of 4 GB and have no times (docs/page_memory.md)"

COMMON = {
    "plane_independent": (False, "assumed: the sources do not say"),
    "t_wc_ns": (25, _MQSIM),
    "t_cs_ns": (0, "assumed: chip enable falls with the first command cycle"),
    "t_wb_ns": (100, _MQSIM),
    "t_rr_ns": (20, _MQSIM),
    "t_whr_ns": (80, "assumed: ONFI SDR timing modes 1 to 5"),
    "t_rhw_ns": (100, _MQSIM),
    "t_adl_ns": (70, _MQSIM),
    "t_ccs_ns": (300, _MQSIM),
    "t_rpre_ns": (15, _MQSIM),
    "t_dqsre_ns": (15, _MQSIM),
    "t_rst_ns": (5_000, "assumed: usual bound for a reset while ready"),
    "t_rcbsy_ns": (500, _DBSY),
    "t_pcbsy_ns": (500, _DBSY),
    "t_dbsy_ns": (500, _MQSIM),
    "suspend": (None, "assumed: no part is known to have suspend that anything here is taken of"),
    "t_feat_ns": (1_000, "standard: ONFI, tFEAT at most 1 us"),
    "ecc_bits": (72, "datasheet: 72 bits in 1 KiB, of Transcend controllers"),
    "supply_v": (3.3, "assumed: usual core supply; many parts of today take 2.5 V"),
    "i_read_ma": (25, _CURRENT),
    "i_program_ma": (25, _CURRENT),
    "i_erase_ma": (25, _CURRENT),
    "io_pj_per_bit": (10, "assumed: a bus of some 5 pF at 1.2 to 1.8 V with its drivers"),
}
"""What most profiles share: a 25 ns command cycle of NV-DDR2, ECC, currents."""

_MLC_COSMOS = {
    "channels": (8, f"{_COSMOS}, 8 channels"),
    "dies": (8, f"{_COSMOS}, 8 ways; one of the two LUNs of each"),
    "planes": (2, "assumed: usual for such parts"),
    "blocks": (4184, f"{_COSMOS}, 4096 and 88 spare blocks of a LUN"),
    "pages": (256, f"{_COSMOS}, blocks used as MLC"),
    "page_bytes": (16384, _COSMOS),
    "spare_bytes": (1664, _COSMOS),
    "rate_mts": (200, f"{_COSMOS}, NV-DDR at 100 MHz"),
    "t_r_ns": (115_000, f"{_MT29F128G}: at most"),
    "t_prog_ns": (1_600_000, f"{_MT29F128G}: typical"),
    "t_bers_ns": (3_000_000, _MT29F128G),
    "bits_per_cell": (2, _COSMOS),
    "bad_blocks": (88, f"{_COSMOS}: its spare blocks"),
    "erases": (3_000, _MT29F128G),
}

_SDR_MODE_5 = {
    "rate_mts": (50, f"{_SDR}: tRC 20 ns"),
    "t_wc_ns": (20, _SDR),
    "t_cs_ns": (10, f"{_SDR}: tCS beyond tWP"),
    "t_wb_ns": (300, _SDR_PHY),
    "t_whr_ns": (80, _SDR),
    "t_rhw_ns": (300, _SDR_PHY),
    "t_adl_ns": (400, f"{_SDR}, as of ONFI 4.0"),
    "t_ccs_ns": (500, "standard: ONFI, where the part does not say less"),
    "t_rpre_ns": (32, f"{_SDR}: tCHZ of the die before"),
    "t_dqsre_ns": (1, "standard: ONFI SDR has no strobe"),
}
"""What `rtl.phy.sdr.SdrPhy` keeps up with at 100, 200 and 250 MHz."""


def _nv_ddr(t_ck_ns, *, wc, cs, wb, whr, rhw, adl, ccs, rpre):
    """Timing that `rtl.phy.nv_ddr.NvDdrPhy` keeps up with, with so long a CLK; all in ns."""
    return {
        "rate_mts": (2000 // t_ck_ns, f"{_NV_DDR}: tCK {t_ck_ns} ns"),
        "t_wc_ns": (wc, f"{_NV_DDR}: tCAD in cycles of CLK"),
        "t_cs_ns": (cs, f"{_NV_DDR}: tCS in cycles of CLK"),
        "t_wb_ns": (wb, _NV_DDR_PHY),
        "t_whr_ns": (whr, _NV_DDR_PHY),
        "t_rhw_ns": (rhw, _NV_DDR_PHY),
        "t_adl_ns": (adl, _NV_DDR_PHY),
        "t_ccs_ns": (ccs, f"{_NV_DDR_PHY}; 500 ns where the part does not say less"),
        "t_rpre_ns": (rpre, f"{_NV_DDR_PHY}: from data of another die"),
        "t_dqsre_ns": (1, "standard: ONFI NV-DDR, within the time before"),
    }


_NV_DDR_200 = _nv_ddr(10, wc=50, cs=10, wb=320, whr=220, rhw=290, adl=540, ccs=600, rpre=110)
"""At 200 MHz."""

_NV_DDR_100 = _nv_ddr(20, wc=60, cs=20, wb=460, whr=280, rhw=400, adl=600, ccs=700, rpre=140)
"""At 100 and 200 MHz."""

_NV_DDR_50 = _nv_ddr(40, wc=80, cs=40, wb=740, whr=400, rhw=660, adl=720, ccs=800, rpre=240)
"""At 50 MHz."""

PROFILES = {
    p.name: p
    for p in (
        make_profile(
            "paper",
            COMMON
            | {
                "channels": (8, _PAPER),
                "dies": (16, "assumed: the paper does not say; covers tR by page transfers"),
                "planes": (1, "assumed: the paper does not say"),
                "blocks": (512, "assumed: makes 128 GiB with 8 channels of 16 dies"),
                "pages": (512, "assumed: the paper says several hundred pages per block"),
                "page_bytes": (4096, _PAPER),
                "spare_bytes": (224, "datasheet: Micron MT29F16G (the paper does not say)"),
                "rate_mts": (1400, f"{_PAPER}: 1.4 GB/s per channel"),
                "t_r_ns": (45_000, f"{_V6} (under 45 us)"),
                "t_prog_ns": (450_000, f"{_V6} (under 450 us)"),
                "t_bers_ns": (3_500_000, "assumed: SimpleSSD's MLC default"),
                "bits_per_cell": (3, _V6),
                "bad_blocks": (10, "assumed: 2 % of the blocks"),
                "erases": (3_000, "assumed: TLC, 1000 to 3000 cycles"),
            },
        ),
        make_profile(
            "tlc_onfi5",
            COMMON
            | {
                "channels": (8, "assumed: common for enterprise drives"),
                "dies": (16, "assumed: fills the bus at one plane per die with margin"),
                "planes": (4, "assumed: usual for such parts"),
                "plane_independent": (True, "assumed: usual for such parts"),
                "blocks": (2048, "assumed: about MT29F128G (2 x 1048), a power of two"),
                "pages": (512, "datasheet: Micron MT29F128G, 512 pages per block"),
                "page_bytes": (16384, "datasheet: Micron MT29F128G, 16384 + 1872 byte pages"),
                "spare_bytes": (1872, "datasheet: Micron MT29F128G, 16384 + 1872 byte pages"),
                "rate_mts": (2400, "standard: ONFI 5.0, NV-LPDDR4 up to 2400 MT/s"),
                "t_r_ns": (50_000, "assumed: 40-60 us is plausible for such parts"),
                "t_prog_ns": (500_000, "assumed: 400-700 us is plausible for such parts"),
                "t_bers_ns": (4_000_000, "assumed: 3-5 ms is plausible for such parts"),
                "bits_per_cell": (3, "assumed: TLC"),
                "bad_blocks": (40, "assumed: 2 % of the blocks"),
                "erases": (3_000, "assumed: TLC, 1000 to 3000 cycles"),
            },
        ),
        make_profile(
            "znand",
            COMMON
            | {
                "channels": (8, "assumed: as profile paper"),
                "dies": (4, "assumed: covers tR by page transfers twice over"),
                "planes": (1, "assumed: the sources do not say"),
                "blocks": (4096, "assumed: 64 Gb in blocks of 2 MiB"),
                "pages": (512, "assumed: 64 Gb in blocks of 2 MiB"),
                "page_bytes": (4096, f"{_ZNAND}: 2 or 4 KiB"),
                "spare_bytes": (224, "assumed: as other parts with pages of 4 KiB"),
                "rate_mts": (800, "assumed: NV-DDR3 of its time"),
                "t_r_ns": (3_000, _ZNAND),
                "t_prog_ns": (100_000, _ZNAND),
                "t_bers_ns": (2_000_000, "assumed: SLC default of the FEMU emulator"),
                "suspend": (
                    Suspend(t_susp_ns=20_000, erase_most=32, program_most=4),
                    "assumed: the press reported suspend and resume, but no times and no bounds",
                ),
                "bits_per_cell": (1, _ZNAND),
                "bad_blocks": (80, "assumed: 2 % of the blocks"),
                "erases": (100_000, "assumed: SLC"),
            },
        ),
        make_profile("mlc_cosmos", COMMON | _MLC_COSMOS),
        make_profile("mlc_cosmos_sdr", COMMON | _MLC_COSMOS | _SDR_MODE_5),
        make_profile("mlc_cosmos_nv_ddr", COMMON | _MLC_COSMOS | _NV_DDR_100),
        make_profile("mlc_cosmos_nv_ddr200", COMMON | _MLC_COSMOS | _NV_DDR_200),
        make_profile("mlc_cosmos_nv_ddr50", COMMON | _MLC_COSMOS | _NV_DDR_50),
        make_profile(
            "ddr4_pages",
            COMMON
            | {
                name: (value, _DDR)
                for name, value in {
                    "channels": 8,
                    "dies": 1,
                    "planes": 1,
                    "blocks": 640,
                    "pages": 128,
                    "page_bytes": 4096,
                    "spare_bytes": 128,
                    "rate_mts": 800,  # a word a clock of 100 MHz
                    "t_r_ns": 100,
                    "t_prog_ns": 200,
                    "t_bers_ns": 1_000,
                    "bits_per_cell": 1,
                    "bad_blocks": 8,
                    "erases": 1_000_000,
                }.items()
            },
        ),
        make_profile(
            "tiny",
            COMMON
            | {
                name: (value, _TEST)
                for name, value in {
                    "channels": 2,
                    "dies": 2,
                    "planes": 1,
                    "plane_independent": False,
                    "blocks": 64,
                    "pages": 16,
                    "page_bytes": 512,
                    "spare_bytes": 32,
                    "rate_mts": 1400,  # that of profile paper
                    "t_wc_ns": 10,
                    "t_wb_ns": 20,
                    "t_rr_ns": 20,
                    "t_whr_ns": 30,
                    "t_rhw_ns": 30,
                    "t_adl_ns": 30,
                    "t_ccs_ns": 40,
                    "t_rpre_ns": 5,
                    "t_dqsre_ns": 5,
                    "t_r_ns": 2_000,
                    "t_prog_ns": 3_000,
                    "t_bers_ns": 5_000,
                    "t_rst_ns": 500,
                    "t_rcbsy_ns": 100,
                    "t_pcbsy_ns": 150,
                    "t_dbsy_ns": 80,
                    "t_feat_ns": 200,
                    "bits_per_cell": 1,
                    "bad_blocks": 4,
                    "erases": 100,
                    "ecc_bits": 8,
                }.items()
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

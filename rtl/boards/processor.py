"""Processing systems of boards: which of their ports the drive takes, where it is, and settings.

Names of ports, pins and address segments are those of AMD's IPs (PG082, PG201). Settings, above all
of the board's DDR, are facts of the boards' public projects (`Processor.settings_source`), kept as
tables in ``settings/``: variant of the board, parameter, value.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PROCESSORS", "MemoryPort", "Processor", "Setting"]


@dataclass(frozen=True)
class Setting:
    """A parameter of the IP, and for which variant of the board; empty: for all."""

    variant: str
    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class MemoryPort:
    """A port to the DDR.

    Parameters
    ----------
    interface, clock : str
        Its AXI interface, and the pin of that interface's clock.
    memory : str
        Address segment of the DDR, from address 0 on.
    others : tuple of str
        Segments behind it that the drive has no business with.
    """

    interface: str
    clock: str
    memory: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A processing system.

    Parameters
    ----------
    ip : str
        Its IP in Vivado's catalogue.
    cpu : str
        The processor that software is for, as Vitis calls it.
    clock, reset : str
        Pins of the fabric's clock and reset, low active.
    control, control_clock : str
        Interface that reaches the drive's registers, and the pin of its clock.
    control_at : int
        Where the registers are.
    host, dram : MemoryPort
        What ``m_axi_host`` and ``m_axi_dram`` are connected to.
    interrupts : tuple of str
        Pins for ``irq`` and ``mailbox``; one pin: a vector of both.
    gpio : str
        Pin of GPIO inputs from the fabric.
    gpio_at : int
        Register that reads the first 32 of them.
    external : tuple of (str, str)
        Interfaces that leave by the processor's own pins, and what they are.
    ddr_bytes : int
        DDR of the board, at address 0 for all.
    parameters : tuple of (str, str)
        What the above wants of the IP; ``{mhz}`` and ``{inputs}`` stand for the fabric's clock and
        the number of GPIO inputs.
    settings_source : str
        Where `settings` are from.
    left_out : str
        What the board has and they do not set up.
    board : str
        Whose it is.
    """

    ip: str
    cpu: str
    clock: str
    reset: str
    control: str
    control_clock: str
    control_at: int
    host: MemoryPort
    dram: MemoryPort
    interrupts: tuple[str, ...]
    gpio: str
    gpio_at: int
    external: tuple[tuple[str, str], ...] = ()
    ddr_bytes: int
    parameters: tuple[tuple[str, str], ...]
    settings_source: str
    left_out: str
    board: str

    def settings(self):
        """Parameters that are particular to the board: list of `Setting`."""
        path = Path(__file__).parent / "settings" / f"{self.board}.csv"
        with path.open(newline="") as file:
            return [
                Setting(row["variant"], row["name"], row["value"]) for row in csv.DictReader(file)
            ]

    @property
    def variants(self):
        """Variants of the board that differ in settings, the first one meant if nothing is said."""
        return list(dict.fromkeys(s.variant for s in self.settings() if s.variant))


PROCESSORS = {
    p.board: p
    for p in (
        Processor(
            board="cosmos_plus",
            ip="processing_system7",
            cpu="ps7_cortexa9_0",
            clock="FCLK_CLK0",
            reset="FCLK_RESET0_N",
            control="M_AXI_GP0",
            control_clock="M_AXI_GP0_ACLK",
            control_at=0x43C0_0000,
            # HP0 and HP1 share a port of the DDR controller, HP2 and HP3 another
            host=MemoryPort(
                interface="S_AXI_HP0", clock="S_AXI_HP0_ACLK", memory="S_AXI_HP0/HP0_DDR_LOWOCM"
            ),
            dram=MemoryPort(
                interface="S_AXI_HP2", clock="S_AXI_HP2_ACLK", memory="S_AXI_HP2/HP2_DDR_LOWOCM"
            ),
            interrupts=("IRQ_F2P",),
            gpio="GPIO_I",
            gpio_at=0xE000_A068,
            external=(
                ("DDR", "xilinx.com:interface:ddrx_rtl:1.0"),
                ("FIXED_IO", "xilinx.com:display_processing_system7:fixedio_rtl:1.0"),
            ),
            ddr_bytes=1 << 30,
            parameters=(
                ("PCW_FPGA0_PERIPHERAL_FREQMHZ", "{mhz}"),
                ("PCW_USE_M_AXI_GP0", "1"),
                ("PCW_USE_S_AXI_HP0", "1"),
                ("PCW_USE_S_AXI_HP2", "1"),
                ("PCW_S_AXI_HP0_DATA_WIDTH", "64"),
                ("PCW_S_AXI_HP2_DATA_WIDTH", "64"),
                ("PCW_USE_FABRIC_INTERRUPT", "1"),
                ("PCW_IRQ_F2P_INTR", "1"),
                ("PCW_GPIO_EMIO_GPIO_ENABLE", "1"),
                ("PCW_GPIO_EMIO_GPIO_IO", "{inputs}"),
            ),
            settings_source="block designs of the board's public projects (Hanyang, CRZ)",
            left_out="Ethernet, USB, I2C",
        ),
        Processor(
            board="daisyplus",
            ip="zynq_ultra_ps_e",
            cpu="psu_cortexa53_0",
            clock="pl_clk0",
            reset="pl_resetn0",
            control="M_AXI_HPM0_FPD",
            control_clock="maxihpm0_fpd_aclk",
            control_at=0xA000_0000,
            host=MemoryPort(
                interface="S_AXI_HP0_FPD",
                clock="saxihp0_fpd_aclk",
                memory="SAXIGP2/HP0_DDR_LOW",
                others=("SAXIGP2/HP0_QSPI", "SAXIGP2/HP0_LPS_OCM"),
            ),
            dram=MemoryPort(
                interface="S_AXI_HP1_FPD",
                clock="saxihp1_fpd_aclk",
                memory="SAXIGP3/HP1_DDR_LOW",
                others=("SAXIGP3/HP1_QSPI", "SAXIGP3/HP1_LPS_OCM"),
            ),
            interrupts=("pl_ps_irq0", "pl_ps_irq1"),
            gpio="emio_gpio_i",
            gpio_at=0xFF0A_006C,
            ddr_bytes=2 << 30,
            parameters=(
                ("PSU__FPGA_PL0_ENABLE", "1"),
                ("PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ", "{mhz}"),
                ("PSU__USE__M_AXI_GP0", "1"),
                ("PSU__USE__M_AXI_GP1", "0"),
                ("PSU__USE__M_AXI_GP2", "0"),
                ("PSU__MAXIGP0__DATA_WIDTH", "32"),
                ("PSU__USE__S_AXI_GP2", "1"),
                ("PSU__USE__S_AXI_GP3", "1"),
                ("PSU__SAXIGP2__DATA_WIDTH", "64"),
                ("PSU__SAXIGP3__DATA_WIDTH", "64"),
                ("PSU__USE__IRQ0", "1"),
                ("PSU__USE__IRQ1", "1"),
                ("PSU__GPIO_EMIO__PERIPHERAL__ENABLE", "1"),
                ("PSU__GPIO_EMIO__PERIPHERAL__IO", "{inputs}"),
            ),
            settings_source="block designs of the board's public projects (CRZ)",
            left_out="Ethernet, I2C, the second UART",
        ),
    )
}
"""Processing systems by the board's name."""

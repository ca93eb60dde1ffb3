"""Policy of the drive: sequences, device DRAM, block groups."""

from .firmware import Firmware

__all__ = ["Firmware"]

"""FPGA boards that the drive's Verilog is made for: their parts, pins, clocks and presets."""

from .board import BOARDS, Board, board
from .parts import PARTS, Part
from .processor import PROCESSORS, Processor

__all__ = ["BOARDS", "PARTS", "PROCESSORS", "Board", "Part", "Processor", "board"]

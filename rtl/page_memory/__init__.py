"""Pages in a memory behind a memory port, for boards whose FPGA has no NAND pins.

`MemoryController` stands where the NAND channel controller (`rtl.nand.controller`) does, and what
it is asked and answers is the same.
"""

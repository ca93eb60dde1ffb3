"""Simulation of the drive: golden model, Verilated models, the native lane, cocotb."""

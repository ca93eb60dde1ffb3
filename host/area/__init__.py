"""``instinfer area``: what the drive takes of an FPGA."""

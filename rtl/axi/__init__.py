"""The drive's ports as AXI4 and AXI4-Lite (Arm IHI 0022), for boards whose fabric speaks these."""

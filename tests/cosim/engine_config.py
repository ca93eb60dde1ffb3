"""The engine of the cocotb regression, for both sides of it."""

from hls_attention.config import EngineConfig

CONFIG = EngineConfig(channels=2, max_heads=4, max_head_dim=128, pass_tokens=1024, group_tokens=64)

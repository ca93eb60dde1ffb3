"""The engine of the cocotb regression, for both sides of it."""

from hls_attention.config import EngineConfig

CONFIG = EngineConfig(
    channels=2, max_heads=8, max_head_dim=256, pass_tokens=64, group_tokens=16, max_passes=4
)

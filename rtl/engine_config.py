"""What the attention engine of a drive is built as."""

from hls_attention.config import EngineConfig

__all__ = ["LEAST_PIPELINE_HZ", "engine_config"]

LEAST_PIPELINE_HZ = 200_000_000
"""Pipelines of a slower drive are cut for this clock: logic stands before their first stages, too,
and would not fit a period beside a stage that fills it."""


def engine_config(config):
    """The engine's share of a drive configuration."""
    return EngineConfig(
        channels=config.channels,
        max_heads=config.max_queries_per_kv,
        max_head_dim=config.max_head_dim,
        pass_tokens=config.pass_tokens,
        max_passes=config.max_passes,
        group_tokens=max(config.group_tokens(d) for d in config.head_dims),
        sparse_tokens=config.sparse_tokens,
        bounds=config.bounds,
        unit_tokens=config.unit_tokens,
        clock_hz=max(config.clock_hz, LEAST_PIPELINE_HZ),
    )

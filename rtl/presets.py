"""Named configurations of a drive: fields of `rtl.config.DriveConfig` that differ from its own."""

__all__ = ["PRESETS"]

PRESETS = {
    "default": {"append_streams": 64},
    "paper": {"append_streams": 64, "clock_hz": 285_000_000, "bit_error_rate": 1e-3},
    "tiny": {
        "profile": "tiny",
        "channels": 2,
        "dies": 2,
        "pass_tokens": 256,
        "max_tokens": 1024,
        "max_sequences": 4,
        "dram_bytes": 4 << 20,
        "operation_depth": 8,
        "bit_error_rate": 1e-6,
        "max_transfer": 64 << 10,
        "max_attend": 16 << 10,
    },
    "cosmos_plus": {
        "profile": "mlc_cosmos_nv_ddr",
        "dies": 8,
        "append_streams": 64,
        "clock_hz": 100_000_000,
        "correctable_bits": 16,
        "decoder_channels": 8,
        "read_limit": 250_000,
    },
    "daisyplus": {
        "profile": "mlc_cosmos_nv_ddr",
        "channels": 4,
        "dies": 8,
        "append_streams": 64,
        "clock_hz": 100_000_000,
        "correctable_bits": 40,
    },
    "smartssd": {
        "profile": "ddr4_pages",
        "page_store": "memory",
        "correctable_bits": 4,
        "dies": 1,
        "append_streams": 64,
        "clock_hz": 100_000_000,
        "bit_error_rate": 1e-6,
    },
}
"""Named configurations; those of boards are called as in `rtl.boards`."""

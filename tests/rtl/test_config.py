"""Configurations: presets, what is derived from them, and what is refused."""

import dataclasses
from fractions import Fraction

import pytest

from flash_model.profiles import PROFILES
from rtl.config import HEAD_DIMS, PRESETS, ConfigError, DriveConfig


@pytest.mark.parametrize("name", PRESETS)
def test_presets_hold_together(name):
    config = DriveConfig.preset(name)
    assert config.flash.geometry.channels == config.channels
    assert config.flash.geometry.dies == config.dies
    assert config.max_tokens <= 131_072
    assert config.max_passes == -(-config.max_tokens // config.pass_tokens) <= 16
    assert config.as_dict() == dataclasses.asdict(config)
    for head_dim in config.head_dims:
        # a group fits its page, and one token more would not
        used = config.group_tokens(head_dim) * head_dim * 2
        assert used <= config.flash.geometry.page_bytes < used + head_dim * 2


def test_the_default_drive_serves_common_models():
    config = DriveConfig()
    assert config.max_tokens == 131_072 and config.head_dims == (64, 80, 96, 112, 128)
    assert config.max_queries_per_kv >= 4 and config.channels == 8
    assert DriveConfig(max_head_dim=64).head_dims == (64,)
    assert DriveConfig(max_head_dim=256).head_dims == HEAD_DIMS
    assert DriveConfig(pass_tokens=1024).max_tokens == 16 * 1024
    assert DriveConfig(max_tokens=9000).max_passes == 2


def test_more_streams_have_fewer_slots():
    assert DriveConfig().stream_slots == 16 and DriveConfig(append_streams=1).die_parts == 1
    assert DriveConfig(append_streams=256, die_parts=4).stream_slots == 4


def test_the_digest_tells_configurations_apart():
    assert DriveConfig().digest == DriveConfig().digest == DriveConfig(channels=8).digest
    assert len({DriveConfig(channels=n).digest for n in (1, 2, 4, 8)}) == 4


def test_a_preset_with_changes():
    config = DriveConfig.preset("tiny", channels=4)
    assert (config.profile, config.channels, config.dies) == ("tiny", 4, 2)
    with pytest.raises(TypeError):
        DriveConfig.preset("tiny", lanes=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.channels = 2


def test_a_weaker_code_makes_shorter_codewords():
    whole, weaker = DriveConfig(), DriveConfig(correctable_bits=12)
    assert (whole.code.t, weaker.code.t) == (27, 12)
    assert whole.code.words - weaker.code.words == 3 and whole.digest != weaker.digest
    assert DriveConfig(correctable_bits=59, profile="tlc_onfi5").code.t == 59


def test_a_shared_decoder_keeps_the_rate_of_its_channels():
    config = DriveConfig(correctable_bits=12, decoder_channels=8)
    assert config.decoder_sizes.rate >= 0.98 and config.decoder_sizes.positions == 32
    assert DriveConfig(correctable_bits=12, decoder_channels=4).decoder_sizes.positions == 16
    with pytest.raises(ConfigError, match="decoder_channels = 8 .* fewer, or 1: .* 20 % of their"):
        DriveConfig(correctable_bits=12, decoder_channels=8, bit_error_rate=1e-3)


@pytest.mark.parametrize(
    "name, bad, allowed",
    [
        ("profile", "nonesuch", "paper"),
        ("channels", 3, "1, 2, 4, 8 or 16"),
        ("channels", 0, "1, 2, 4, 8 or 16"),
        ("channels", 2.0, "type int"),
        ("dies", 0, "1..64"),
        ("dies", 65, "1..64"),
        ("dies", "2", "type int"),
        ("die_parts", 3, "a divisor of dies = 16"),
        ("die_parts", -1, "a divisor of dies = 16"),
        ("stream_groups", 2000, "1..1024"),
        ("append_streams", 3, "a power of two, 1..256"),
        ("append_streams", 512, "a power of two, 1..256"),
        ("clock_hz", 1_000_000, "50 MHz"),
        ("max_queries_per_kv", 9, "1..8"),
        ("max_head_dim", 100, "64, 80, 96, 112, 128, 192, 256"),
        ("pass_tokens", 1000, "power of two"),
        ("pass_tokens", 65536, "32768"),
        ("max_tokens", 131_073, "1..131072"),
        ("max_tokens", -1, "0 for 131072"),
        ("max_sequences", 0, "1..1024"),
        ("operation_depth", 1, "2..256"),
        ("correctable_bits", 1, "2..27"),
        ("decoder_channels", 3, "a power of two, 1..8"),
        ("decoder_channels", 16, "a power of two, 1..8"),
        ("correctable_bits", 28, "2..27, what 224 spare bytes have parity for"),
        ("max_transfer", 5000, "multiple of 4096"),
        ("max_transfer", 4 << 20, "2 MiB"),
        ("max_attend", 5000, "power of two"),
        ("dram_bytes", 1000, "1 MiB"),
        ("firmware_cycles", -1, "0 or more"),
        ("read_limit", (1 << 24) - 63, "0..16777152"),
        ("page_store", "ddr", "one of nand, memory"),
        ("page_base", 4096, '0, or page_store = "memory"'),
        ("page_blocks", 64, '0, or page_store = "memory"'),
    ],
)
def test_refused_with_value_range_and_remedy(name, bad, allowed):
    with pytest.raises(ConfigError) as error:
        DriveConfig(**{name: bad})
    assert str(bad) in str(error.value) and allowed in str(error.value)


def test_pages_in_a_memory():
    config = DriveConfig.preset("tiny", page_store="memory", page_base=1 << 40)
    assert config.page_store_bytes == 2 * 2 * 64 * 16 * (512 + 32)  # channels, dies, blocks, pages
    assert config.page_bytes_per_clock == 8
    assert DriveConfig().page_bytes_per_clock == Fraction(1_400_000_000, 250_000_000)
    # a decoder that keeps a rate of 5.6 bytes a clock is not always enough for 8
    rates = {"clock_hz": 250_000_000, "bit_error_rate": 1e-3}
    nand, memory = (DriveConfig(page_store=s, **rates).decoder_sizes for s in ("nand", "memory"))
    assert memory.lanes > nand.lanes or memory.positions > nand.positions
    # what a SmartSSD's 4 GiB of DDR4 hold beside 512 MiB of device DRAM
    some = DriveConfig(page_store="memory", dies=1, page_blocks=200)
    assert some.flash.geometry.blocks == 200 and some.page_store_bytes < 3584 << 20
    end = (1 << 48) - config.page_store_bytes
    for bad in (15, 513):
        with pytest.raises(ConfigError, match=f"page_blocks = {bad} .* 16..512, or 0 for 512"):
            DriveConfig(page_store="memory", page_blocks=bad)
    for bad in (2048, -4096, (end // 4096 + 1) * 4096):
        with pytest.raises(ConfigError, match=f"page_base = {bad} .* a multiple of 4096, 0..{end}"):
            DriveConfig.preset("tiny", page_store="memory", page_base=bad)


def test_a_pass_must_hold_what_a_page_does():
    with pytest.raises(ConfigError, match="pass_tokens = 64 .* from 128 on"):
        DriveConfig(profile="tlc_onfi5", pass_tokens=64)


def test_unknown_preset():
    with pytest.raises(ConfigError, match="default, paper, tiny"):
        DriveConfig.preset("nonesuch")


def test_every_profile_can_be_built():
    for name in PROFILES:
        DriveConfig(profile=name)

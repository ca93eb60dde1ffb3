"""The configuration of a drive: one frozen dataclass, validated, with named presets."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction

from flash_model.profiles import PROFILES, Profile, profile

from .ecc.placement import of_strength
from .ecc.rates import GOAL, sizes_for
from .ecc.shared_rates import shared_sizes_for
from .pages.store import page_checks
from .presets import PRESETS
from .read_counts import LIMIT_BITS, count_bits, most_reads

__all__ = ["DriveConfig", "ConfigError", "HEAD_DIMS", "MASK_TOKENS", "PRESETS", "stream_groups"]


HEAD_DIMS = (64, 80, 96, 112, 128, 192, 256)
"""Every head_dim that a drive can be built for."""

MAX_TOKENS = 131_072
MAX_PASSES = 16
MASK_TOKENS = 32
"""Most tokens of K or V that are read at once where only some of them are wanted."""

MOST_PARTS = 16
MOST_GROUPS = 1 << 16


def stream_groups(parts):
    """`DriveConfig.stream_groups` where nothing is said: what lies on half of the dies."""
    return max(2, parts // 2)


class ConfigError(ValueError):
    """A parameter is out of its range; the message names value, range and remedy."""


@dataclass(frozen=True, kw_only=True)
class DriveConfig:
    """What a drive is built as. Derived figures are properties.

    Parameters
    ----------
    profile : str
        Flash profile, see `flash_model.profiles`.
    channels : int
        Flash channels: 1, 2, 4, 8 or 16.
    dies : int
        Dies (chip enables) per channel, 1..64.
    append_streams : int
        Streams that the append path fills block groups of at a time, a power of two, 1..256: one
        for all sequences, or more, of which each sequence that may fill some groups has its own.
    die_parts : int
        Parts of a channel's dies that have block groups of their own; divides `dies`, and makes
        65,536 groups at most. 0: as many as that allows, 16 at most, 1 with one stream.
    stream_groups : int
        Block groups that a sequence may fill from which on it has a stream of its own, 1..1024.
        0: two, or as many as lie on half of the dies, so that it is read from as many.
    clock_hz : int
        Core clock.
    max_queries_per_kv : int
        Most query heads that share a KV head, 1..8.
    max_head_dim : int
        Largest head_dim served: 64, 80, 96, 112, 128, 192 or 256.
    pass_tokens : int
        Tokens of one exact pass; a power of two, 64..32768.
    max_tokens : int
        Most tokens of one sequence, in at most 16 passes; up to 131072. 0: as many as that allows.
    max_sequences : int
        Sequences open at once, 1..1024.
    dram_bytes : int
        Device DRAM.
    operation_depth : int
        Page operations a channel queues ahead of use; see `reads_ahead`.
    codeword_bytes : int
        User bytes of a codeword: 1024, 512, or 0 for 1024 where a page holds one.
    correctable_bits : int
        Bit errors of a codeword that are corrected, 2 up to what the spare bytes have parity for
        (`rtl.ecc.placement`); 0: so many. Fewer make a smaller drive (docs/ecc.md).
    decoder_channels : int
        Channels that share the key equation and the search of their decoders, a power of two up to
        `channels`; 1: every channel has its own. A smaller drive, for flash of few errors: refused
        if the channels would not keep their rate at `bit_error_rate` (docs/ecc.md).
    bit_error_rate : float
        Raw bit error rate up to which a channel's decoder keeps the channel's rate.
    max_transfer : int
        Most bytes of one command's data, at most 2 MiB (one PRP list page).
    max_attend : int
        Most bytes of job list, q, k and v of one ATTEND or STEP (the on-chip command buffer), a
        power of two, 4096..262144.
    firmware_cycles : int
        Clock cycles charged for each call of the firmware.
    sparse_tokens : int
        Most tokens of a sequence that is attended sparsely, 64..max_tokens; 0: the drive has no
        sparse attention. Sets the size of the memories of estimated scores.
    bounds : bool
        With sparse attention: also by bounds of K.
    page_store : str
        Where pages lie: "nand", on dies behind PHYs, or "memory", in one behind AXI ports that
        other hands fill and save (docs/page_memory.md); `profile` then gives their geometry alone.
    page_base : int
        With pages in a memory: the byte address at which they begin there until PAGE_BASE is
        written, a multiple of 4096.
    page_blocks : int
        With pages in a memory: blocks of each die, 16 up to those of `profile`, so that they fit
        it (`page_store_bytes`). 0: all of them.
    read_limit : int
        Reads of a block's pages since its last erase from which on it is to be written anew,
        0..16777152; 0: never. The default adds 1e-4 to the raw bit error rate of a worn-out TLC
        block by the coefficients of `flash_model.bit_errors`. Counts of reads are built as wide as
        it needs: each block of a channel has one in block RAM.
    """

    profile: str = "paper"
    channels: int = 8
    dies: int = 16
    append_streams: int = 1
    die_parts: int = 0
    stream_groups: int = 0
    clock_hz: int = 250_000_000
    max_queries_per_kv: int = 4
    max_head_dim: int = 128
    pass_tokens: int = 8192
    max_tokens: int = 0
    max_sequences: int = 64
    dram_bytes: int = 256 << 20
    operation_depth: int = 32
    codeword_bytes: int = 0
    correctable_bits: int = 0
    decoder_channels: int = 1
    bit_error_rate: float = 1e-4
    max_transfer: int = 2 << 20
    max_attend: int = 64 << 10
    firmware_cycles: int = 500
    sparse_tokens: int = 0
    bounds: bool = False
    read_limit: int = 500_000
    page_store: str = "nand"
    page_base: int = 0
    page_blocks: int = 0

    def __post_init__(self):
        def check(name, ok, allowed):
            if not ok:
                value = getattr(self, name)
                raise ConfigError(f"{name} = {value!r} is not possible: choose {allowed}")

        check("profile", self.profile in PROFILES, f"one of {', '.join(PROFILES)}")
        for field in dataclasses.fields(self):
            check(
                field.name,
                isinstance(getattr(self, field.name), field.type),
                f"a value of type {field.type.__name__}",
            )
        check("channels", self.channels in (1, 2, 4, 8, 16), "1, 2, 4, 8 or 16")
        check("dies", 1 <= self.dies <= 64, "1..64 dies per channel")
        for name, ok, allowed in page_checks(self):
            check(name, ok, allowed)
        check(
            "append_streams",
            self.append_streams in [1 << n for n in range(9)],
            "a power of two, 1..256",
        )
        if self.die_parts == 0:
            blocks = self.flash.geometry.blocks
            most = 1 if self.append_streams == 1 else min(MOST_PARTS, MOST_GROUPS // blocks)
            parts = max(n for n in range(1, most + 1) if self.dies % n == 0)
            object.__setattr__(self, "die_parts", parts)
        check(
            "die_parts",
            self.die_parts >= 1 and self.dies % self.die_parts == 0,
            f"a divisor of dies = {self.dies}, or 0",
        )
        check(
            "die_parts",
            self.die_parts * self.flash.geometry.blocks <= MOST_GROUPS,
            f"at most {MOST_GROUPS // self.flash.geometry.blocks}: there are "
            f"{self.flash.geometry.blocks} blocks of each die, {MOST_GROUPS} groups at most",
        )
        if self.stream_groups == 0:
            object.__setattr__(self, "stream_groups", stream_groups(self.die_parts))
        check("stream_groups", 1 <= self.stream_groups <= 1024, "1..1024, or 0")
        check("clock_hz", 50_000_000 <= self.clock_hz <= 1_000_000_000, "50 MHz..1 GHz")
        check("max_queries_per_kv", 1 <= self.max_queries_per_kv <= 8, "1..8")
        check("max_head_dim", self.max_head_dim in HEAD_DIMS, f"one of {_list(HEAD_DIMS)}")
        check(
            "max_head_dim",
            self.group_tokens(self.max_head_dim) >= 1,
            f"at most {self.flash.geometry.page_bytes // 2}, what a flash page holds",
        )
        check(
            "pass_tokens",
            self.pass_tokens in [1 << n for n in range(6, 16)],
            "a power of two, 64..32768",
        )
        check(
            "pass_tokens",
            self.pass_tokens >= max(map(self.group_tokens, self.head_dims)),
            f"a power of two from {max(map(self.group_tokens, self.head_dims))} on: what a flash "
            "page holds",
        )
        most = min(MAX_TOKENS, MAX_PASSES * self.pass_tokens)
        if self.max_tokens == 0:
            object.__setattr__(self, "max_tokens", most)
        check("max_tokens", 1 <= self.max_tokens <= most, f"1..{most}, or 0 for {most}")
        check("max_sequences", 1 <= self.max_sequences <= 1024, "1..1024")
        check("operation_depth", 2 <= self.operation_depth <= 256, "2..256")
        if self.codeword_bytes == 0:
            page = self.flash.geometry.page_bytes
            object.__setattr__(self, "codeword_bytes", 512 if page % 1024 else 1024)
        check("codeword_bytes", self.codeword_bytes in (512, 1024), "512 or 1024, or 0")
        check(
            "codeword_bytes",
            self.flash.geometry.page_bytes % self.codeword_bytes == 0,
            f"what divides a flash page of {self.flash.geometry.page_bytes} bytes",
        )
        most = of_strength(self.flash.geometry, self.codeword_bytes, 0).t
        check(
            "correctable_bits",
            self.correctable_bits == 0 or 2 <= self.correctable_bits <= most,
            f"2..{most}, what {self.flash.geometry.spare_bytes} spare bytes have parity for with "
            f"codewords of {self.codeword_bytes}, or 0 for {most}",
        )
        check(
            "sparse_tokens",
            self.sparse_tokens == 0 or 64 <= self.sparse_tokens <= self.max_tokens,
            f"64..{self.max_tokens}, the max_tokens, or 0 for no sparse attention",
        )
        check(
            "sparse_tokens",
            self.sparse_tokens == 0 or self.pass_tokens >= self.unit_tokens,
            f"0: passes of {self.pass_tokens} tokens are smaller than units of K by channel, "
            f"{self.unit_tokens} tokens",
        )
        check(
            "bounds",
            self.sparse_tokens > 0 or not self.bounds,
            "False, or give sparse_tokens, the most tokens to select from",
        )
        check(
            "decoder_channels",
            self.decoder_channels in [n for n in (1, 2, 4, 8, 16) if n <= self.channels],
            f"a power of two, 1..{self.channels}",
        )
        check("bit_error_rate", 0 < self.bit_error_rate < 0.5, "a rate above 0 and below 0.5")
        if self.decoder_channels > 1:
            kept = self.decoder_sizes.rate
            check(
                "decoder_channels",
                kept >= GOAL,
                f"fewer, or 1: they would keep {100 * kept:.0f} % of their rate at a bit error "
                f"rate of {self.bit_error_rate:g}",
            )
        check(
            "max_transfer",
            4096 <= self.max_transfer <= 2 << 20 and self.max_transfer % 4096 == 0,
            "a multiple of 4096 up to 2 MiB",
        )
        check(
            "max_attend",
            self.max_attend in [1 << n for n in range(12, 19)],
            "a power of two, 4096..262144",
        )
        check("dram_bytes", 1 << 20 <= self.dram_bytes <= 1 << 40, "1 MiB..1 TiB")
        most = most_reads(LIMIT_BITS)
        check("read_limit", 0 <= self.read_limit <= most, f"0..{most} reads; 0: no limit")
        check("firmware_cycles", self.firmware_cycles >= 0, "0 or more clock cycles")

    @classmethod
    def preset(cls, name, **changes):
        """A named preset, with fields changed by keyword."""
        if name not in PRESETS:
            raise ConfigError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    @property
    def flash(self) -> Profile:
        """The flash profile, with this drive's channels and dies."""
        base = profile(self.profile)
        geometry = dataclasses.replace(
            base.geometry,
            channels=self.channels,
            dies=self.dies,
            blocks=self.page_blocks or base.geometry.blocks,
        )
        return dataclasses.replace(base, geometry=geometry)

    @property
    def code(self):
        """The code of the flash's codewords."""
        return of_strength(self.flash.geometry, self.codeword_bytes, self.correctable_bits)

    @property
    def decoder_sizes(self):
        """Sizes of a channel's decoder (`rtl.ecc.rates.sizes_for`), or of a shared one."""
        code, rate, channels = self.code, self.bit_error_rate, self.decoder_channels
        word_clocks = float(8 / self.page_bytes_per_clock)
        if channels == 1:
            return sizes_for(code, rate, word_clocks=word_clocks)
        return shared_sizes_for(code, rate, channels=channels, word_clocks=word_clocks)

    @property
    def page_bytes_per_clock(self):
        """Bytes of pages that a channel moves in a clock, exact."""
        if self.page_store == "memory":
            return Fraction(8)
        return self.flash.timing.bytes_per_clock(self.clock_hz)

    @property
    def page_store_bytes(self):
        """Bytes of all pages, spare bytes included: what a page memory must hold."""
        geometry = self.flash.geometry
        return geometry.total_pages * geometry.page_total

    @property
    def head_dims(self):
        """Supported head_dim."""
        return tuple(d for d in HEAD_DIMS if d <= self.max_head_dim)

    @property
    def stream_slots(self):
        """Stripes that a stream is given ahead at most."""
        return 16 if self.append_streams == 1 else 4

    @property
    def max_passes(self):
        """Most passes of one sequence."""
        return -(-self.max_tokens // self.pass_tokens)

    @property
    def reads_ahead(self):
        """Page operations that a channel queues: more where they are of codewords, not of pages."""
        return min(256, self.operation_depth * (4 if self.sparse_tokens else 1))

    @property
    def count_bits(self):
        """Bits of the counts of reads (`rtl.read_counts`)."""
        return count_bits(self.read_limit)

    @property
    def most_reads(self):
        """Reads of a block up to which they are counted."""
        return most_reads(self.count_bits)

    @property
    def unit_tokens(self):
        """Tokens of a unit of K by channel: the elements of a codeword."""
        return self.codeword_bytes // 2

    def group_tokens(self, head_dim):
        """Tokens of one head whose K (or V) fits a page."""
        return self.flash.geometry.page_bytes // (2 * head_dim)

    def as_dict(self):
        """Plain dict of all fields."""
        return dataclasses.asdict(self)

    @property
    def digest(self):
        """Short hash of the configuration."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _list(numbers):
    return ", ".join(map(str, numbers))

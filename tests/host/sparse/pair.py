"""A drive of gateware and its twin side by side, and random sequences attended sparsely."""

import ml_dtypes
import numpy as np

from host import Bounds, DriveConfig, KvDrive, ResultFlag, Sparf
from host.stats import difference

TINY = DriveConfig.preset("tiny", sparse_tokens=1024, bounds=True)
FP16, BF16 = np.float16, ml_dtypes.bfloat16
PAPER = {
    codeword: DriveConfig(
        profile="paper",
        channels=2,
        dies=2,
        max_queries_per_kv=2,
        max_head_dim=256,
        pass_tokens=1024,
        sparse_tokens=16384,
        codeword_bytes=codeword,
        bounds=codeword == 1024,
    )
    for codeword in (512, 1024)
}
"""Pages of 4 KiB of which 4 or 8 codewords hold 1, 2, 4 or 8 tokens each; one without bounds."""
NAMES = {FP16: "fp16", BF16: "bf16"}
COUNTED = ("pages_read", "bytes_flash", "bytes_tail", "jobs", "commands", "commands_failed")
EDGES = (
    1,
    2,
    3,
    4,
    5,
    31,
    32,
    33,
    36,
    37,
    255,
    256,
    257,
    259,
    260,
    261,
    511,
    512,
    513,
    516,
    1019,
    1023,
    1024,
)
"""Lengths about a group, a unit of bounds, one of K by channel and a pass, several of them, and all
that the drive selects from."""


class Pair:
    """A drive of gateware and its twin, to which the same is done; they are to give the same.

    A sequence is a pair of numbers.
    """

    def __init__(self, config, **options):
        self.config, self.filled = config, 0
        self.drives = KvDrive(config, backend="rtl", **options), KvDrive(config, backend="twin")
        self.driver = self.drives[0].backend.driver
        self.open_ones = []

    def shutdown(self):
        for drive in self.drives:
            drive.shutdown()

    def open(self, kv_heads=1, head_dim=64, dtype=FP16, index="channel", layers=1, **how):
        shape = {"layers": layers, "kv_heads": kv_heads, "head_dim": head_dim, **how}
        shape = {"max_tokens": self.config.sparse_tokens, "index": index, **shape}
        numbers = tuple(drive.open(**shape, kv_format=NAMES[dtype]) for drive in self.drives)
        self.open_ones.append(numbers)
        return numbers

    def close(self, *sequences):
        """Closes some sequences, or all."""
        for numbers in sequences or list(self.open_ones):
            self.call("close", numbers)
            self.open_ones.remove(numbers)

    def fork(self, sequence):
        self.open_ones.append(self.call("fork", sequence))
        return self.open_ones[-1]

    def call(self, name, sequence, *arguments):
        if name in ("append", "preload"):
            self.filled += arguments[1][..., 0].size
        return tuple(getattr(d, name)(n, *arguments) for d, n in zip(self.drives, sequence))

    def attend(self, jobs, attention, **how):
        """Outputs of a batch of ``(sequence, layer, ...)``, after comparison."""
        outputs, flags, counts = [], [], []
        for which, drive in enumerate(self.drives):
            self.driver.quiesce()  # of a command before there may be pages still to be read
            before = drive.stats()
            batch = [(sequence[which], *rest) for sequence, *rest in jobs]
            outputs.append(drive.attend_batch(batch, attention=attention, **how))
            flags.append(drive.last_flags)
            self.driver.quiesce()
            counts.append(difference(drive.stats(), before))
        for number, (mine, wanted) in enumerate(zip(*outputs, strict=True)):
            assert mine.dtype == wanted.dtype
            assert mine.tobytes() == wanted.tobytes(), (number, mine, wanted)
        assert flags[0] == flags[1]
        if not flags[0] & ResultFlag.NONFINITE:  # then any tokens may have been read
            assert [counts[0][name] for name in COUNTED] == [counts[1][name] for name in COUNTED]
        return outputs[0]


def spread(rng, shape, dtype=FP16):
    """Random numbers, some channels of which are larger than others."""
    return (rng.standard_normal(shape) * np.exp(rng.standard_normal(shape[-1]))).astype(dtype)


class Drawn:
    """A random sequence and what is asked of it."""

    DTYPES = FP16, BF16

    def __init__(self, rng, most, head_dims=(64,), queries=4, index="channel"):
        self.rng, self.most, self.queries, self.index = rng, most, queries, index
        self.dtype, self.heads = self.DTYPES[rng.integers(2)], int(rng.integers(1, 3))
        self.head_dim = int(rng.choice(head_dims))
        edges = [n for n in EDGES if n <= most]
        wanted = rng.choice(edges) if rng.integers(2) else rng.integers(1, most + 1)
        self.tokens = int(wanted)
        self.kind = rng.choice(["plain"] * 6 + ["ties", "zeros", "few", "small", "large"])

    def vectors(self, *shape):
        rng, shape = self.rng, (*shape, self.heads, self.head_dim)
        x = spread(rng, shape, self.dtype)
        if self.kind == "ties":
            x[:] = x[:1]
        if self.kind == "zeros":
            x[rng.random(shape[:1]) < 0.7] = 0
        if self.kind == "few":
            x = rng.choice([0, 1, -1], shape).astype(self.dtype)
        if self.kind == "small":
            x = (x * 2.0**-20).astype(self.dtype)
        if self.kind == "large":
            x = (np.clip(x, -100, 100) * 2.0**9).astype(self.dtype)
        return x

    def query(self):
        rng, kind = self.rng, self.rng.integers(8)
        g = int(rng.integers(1, self.queries + 1))
        q = spread(rng, (self.heads * g, self.head_dim), self.DTYPES[rng.integers(2)])
        if kind == 0:
            q = np.sign(q)  # all channels tie
        if kind == 1:
            q[rng.integers(len(q))] = 0
        if kind == 2:
            q[:, : self.head_dim // 2] = 0
            q[0] = q[0, ::-1]  # a head without anything in the channels chosen, perhaps
        if kind == 3:
            q = (q * 2.0 ** rng.integers(-20, 5, (len(q), 1))).astype(q.dtype)
        return q

    def attention(self):
        rng = self.rng
        forced = [(0, 0), (4, 32), (1, 3), (300, 0), (0, 300), (65535, 65535)]
        sinks, window = forced[rng.integers(len(forced))]
        bounds = self.index == "bounds"
        if rng.integers(2):
            ratio = float(rng.choice([1 / 4, 1 / 8, 0.07 if bounds else 1 / 16, 1.0]))
            if sinks + window > 300:
                sinks = window = 0
            return (Bounds if bounds else Sparf)(ratio, sinks=sinks, window=window)
        d, n = self.head_dim, self.tokens
        channels = int(rng.choice([1, 2, d // 4, d - 1, d, rng.integers(1, d + 1)]))
        kept = int(rng.choice([1, 2, max(1, n - 1), n, 1 << 20, rng.integers(1, n + 1)]))
        return JustBounds(kept, sinks, window) if bounds else Exactly(channels, kept, sinks, window)


class Exactly(Sparf):
    """As many tokens as are asked for, though more are to be kept whatever their scores."""

    def __init__(self, channels, kept, sinks=0, window=0):
        super().__init__(channels=channels, kept=kept, sinks=sinks, window=window)

    def selection(self, head_dim, tokens):
        return super().selection(head_dim, tokens)._replace(kept=self.kept)


class JustBounds(Bounds):
    """The same by bounds."""

    def __init__(self, kept, sinks=0, window=0):
        super().__init__(kept=kept, sinks=sinks, window=window)

    def selection(self, head_dim, tokens):
        return super().selection(head_dim, tokens)._replace(kept=self.kept)


def random_attends(pair, seed, cases, most=1024, **how):
    rng = np.random.default_rng(seed)
    print("seed", seed)
    for case in range(cases):
        drawn = Drawn(rng, most, **how)
        sequence = pair.open(drawn.heads, drawn.head_dim, drawn.dtype, index=drawn.index)
        pair.call("preload", sequence, 0, drawn.vectors(drawn.tokens), drawn.vectors(drawn.tokens))
        for _ in range(2):
            q, attention = drawn.query(), drawn.attention()
            what = {} if rng.integers(4) else {"scale": 2.0 ** rng.uniform(-9, 4)}
            print(case, {n: str(x) for n, x in vars(drawn).items()}, q.shape, q.dtype, attention)
            print(vars(attention), what)
            pair.attend([(sequence, 0, q)], attention, **what)
        pair.close()

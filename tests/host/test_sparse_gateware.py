"""Sparse attention on the gateware against its twin: outputs, flags and traffic, bit for bit.

Which tokens are kept is seen from outside too: queries and keys are made so that all scores of what
is kept are equal, and the values so that their mean names the tokens.
"""

import ml_dtypes
import numpy as np
import pytest
import torch
from conftest import SEED

from host import DriveConfig, DriveError, KvDrive, ResultFlag, Sparf, Status
from host.stats import difference
from rtl.commands import JOB, JOB_STATUS, AttendMode, Opcode

TINY = DriveConfig.preset("tiny", sparse_tokens=1024)
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
    )
    for codeword in (512, 1024)
}
"""Pages of 4 KiB of which 4 or 8 codewords hold 1, 2, 4 or 8 tokens each."""
NAMES = {FP16: "fp16", BF16: "bf16"}
COUNTED = ("pages_read", "bytes_flash", "bytes_tail", "jobs", "commands", "commands_failed")
EDGES = (1, 2, 3, 4, 5, 255, 256, 257, 259, 260, 261, 511, 512, 513, 516, 1019, 1023, 1024)
"""Lengths about a group, a unit and pass, several of them, and all that the drive selects from."""

pytestmark = pytest.mark.filterwarnings("ignore::host.errors.DriveWarning")


class Pair:
    """A drive of gateware and its twin, to which the same is done; they are to give the same.

    A sequence is a pair of numbers.
    """

    def __init__(self, config, **options):
        self.config = config
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


@pytest.fixture(scope="module")
def tiny_drives():
    pair = Pair(TINY)
    yield pair
    pair.shutdown()


@pytest.fixture(scope="module", params=PAPER, ids=lambda codeword: f"codewords of {codeword}")
def paper_drives(request):
    pair = Pair(PAPER[request.param])
    yield pair
    pair.shutdown()


@pytest.fixture
def paper_pair(paper_drives):
    yield paper_drives
    paper_drives.close()


@pytest.fixture
def tiny_pair(tiny_drives):
    yield tiny_drives
    tiny_drives.close()


def spread(rng, shape, dtype=FP16):
    """Random numbers, some channels of which are larger than others."""
    return (rng.standard_normal(shape) * np.exp(rng.standard_normal(shape[-1]))).astype(dtype)


class Drawn:
    """A random sequence and what is asked of it."""

    DTYPES = FP16, BF16

    def __init__(self, rng, most, head_dims=(64,), queries=4):
        self.rng, self.most, self.queries = rng, most, queries
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
            x = (x * 2.0**9).astype(self.dtype)
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
        if rng.integers(2):
            ratio = float(rng.choice([1 / 4, 1 / 8, 1 / 16, 1.0]))
            if sinks + window > 300:
                sinks = window = 0
            return Sparf(ratio, sinks=sinks, window=window)
        d, n = self.head_dim, self.tokens
        channels = int(rng.choice([1, 2, d // 4, d - 1, d, rng.integers(1, d + 1)]))
        kept = int(rng.choice([1, 2, max(1, n - 1), n, 1 << 20, rng.integers(1, n + 1)]))
        return Exactly(channels, kept, sinks, window)


class Exactly(Sparf):
    """As many tokens as are asked for, though more are to be kept whatever their scores."""

    def __init__(self, channels, kept, sinks=0, window=0):
        super().__init__(channels=channels, kept=kept, sinks=sinks, window=window)

    def selection(self, head_dim, tokens):
        return super().selection(head_dim, tokens)._replace(kept=self.kept)


def random_attends(pair, seed, cases, most=1024, **how):
    rng = np.random.default_rng(seed)
    print("seed", seed)
    for case in range(cases):
        drawn = Drawn(rng, most, **how)
        sequence = pair.open(drawn.heads, drawn.head_dim, drawn.dtype)
        pair.call("preload", sequence, 0, drawn.vectors(drawn.tokens), drawn.vectors(drawn.tokens))
        for _ in range(2):
            q, attention = drawn.query(), drawn.attention()
            what = {} if rng.integers(4) else {"scale": 2.0 ** rng.uniform(-9, 4)}
            print(case, {n: str(x) for n, x in vars(drawn).items()}, q.shape, q.dtype, attention)
            print(vars(attention), what)
            pair.attend([(sequence, 0, q)], attention, **what)
        pair.close()


def test_random_attends(tiny_pair):
    random_attends(tiny_pair, SEED, 12)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_many_random_attends(tiny_pair, seed):
    random_attends(tiny_pair, seed, 200)


OF_PAPER = {"head_dims": (64, 128, 256), "queries": 2}


def test_pages_of_many_codewords(paper_pair):
    random_attends(paper_pair, SEED, 6, most=2500, **OF_PAPER)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_many_attends_of_pages_of_many_codewords(paper_pair, seed):
    random_attends(paper_pair, seed, 60, most=4096, **OF_PAPER)
    random_attends(paper_pair, seed, 6, most=16384, **OF_PAPER)


def test_lengths(tiny_pair, rng):
    """One sequence that grows from edge to edge."""
    sequence, held = tiny_pair.open(2), 0
    for tokens in EDGES:
        new = spread(rng, (2, tokens - held, 2, 64))
        tiny_pair.call("append" if tokens < 300 else "preload", sequence, 0, *new)
        held = tokens
        q = spread(rng, (6, 64))
        for attention in (Sparf(1 / 8), Exactly(7, max(1, tokens // 2))):
            tiny_pair.attend([(sequence, 0, q)], attention)


@pytest.mark.parametrize("begin", [250, 505])
def test_steps_through_the_end_of_a_unit(tiny_pair, rng, begin):
    """Of two layers, one a token ahead; then a fork of it, truncated within the unit."""
    sequence = tiny_pair.open(2, layers=2, max_tokens=600)
    for layer in range(2):
        tiny_pair.call("preload", sequence, layer, *spread(rng, (2, begin + layer, 2, 64)))
    attention = Sparf(1 / 4, sinks=2, window=5)

    def step(*sequences, count=1):
        for number in range(count):
            jobs = [
                (n, (number + at) % 2, spread(rng, (4, 64)), *spread(rng, (2, 2, 64)))
                for at, n in enumerate(sequences)
            ]
            tiny_pair.attend(jobs, attention)

    step(sequence, sequence, count=10)
    fork = tiny_pair.fork(sequence)
    step(sequence, fork, count=3)
    tiny_pair.call("truncate", fork, begin + 3)
    step(fork, sequence, count=9)
    q = spread(rng, (4, 64))
    tiny_pair.attend([(n, at, q) for n in (fork, sequence) for at in range(2)], attention)


def test_batches(tiny_pair, rng):
    """Sequences of many lengths and formats in a list: some are kept whole, others not."""
    kinds = [(1000, 1, FP16), (257, 2, BF16), (30, 1, FP16), (256, 2, FP16)]
    sequences = []
    for tokens, heads, dtype in kinds:
        sequence = tiny_pair.open(heads, dtype=dtype, max_tokens=tokens + 20)
        tiny_pair.call("preload", sequence, 0, *spread(rng, (2, tokens, heads, 64), dtype))
        sequences.append(sequence)

    def query(at):
        g = int(rng.integers(1, 5))
        return spread(rng, (kinds[at][1] * g, 64), (FP16, BF16)[rng.integers(2)])

    for attention in (Sparf(1 / 8), Exactly(9, 100), Sparf(channels=64, kept=1000)):
        order = [*rng.permutation(4), *rng.permutation(4)]
        tiny_pair.attend([(sequences[at], 0, query(at)) for at in order], attention)
        steps = []
        for at in rng.permutation(3):
            _, heads, dtype = kinds[at]
            steps.append((sequences[at], 0, query(at), *spread(rng, (2, heads, 64), dtype)))
        tiny_pair.attend(steps, attention)
        tiny_pair.attend([(sequences[at], 0, query(at)) for at in order], "dense")


@pytest.mark.parametrize("tokens, kept", [(300, 300), (300, 2000), (513, 513)])
def test_dense_where_all_is_kept(tiny_pair, rng, tokens, kept):
    sequence = tiny_pair.open()
    tiny_pair.call("preload", sequence, 0, *spread(rng, (2, tokens, 1, 64)))
    q = spread(rng, (3, 64))
    [dense] = tiny_pair.attend([(sequence, 0, q)], "dense")
    for channels in (1, 64):
        [found] = tiny_pair.attend([(sequence, 0, q)], Exactly(channels, kept))
        assert found.tobytes() == dense.tobytes()


@pytest.mark.parametrize("place", ["q", "k column", "k beyond", "k tail", "v first", "v last"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinities(tiny_pair, rng, place, value):
    """All query heads of the KV head are NaN, whatever is kept; those of the other are not."""
    tokens = 600
    k, v = spread(rng, (2, tokens, 2, 64))
    q = spread(rng, (6, 64))
    at = {"k column": 100, "k beyond": 550, "k tail": 597, "v first": 0, "v last": 599}.get(place)
    if place == "q":
        q[4, 7] = value
    else:
        (k if place[0] == "k" else v)[at, 1, 7] = value
    sequence = tiny_pair.open(2)
    tiny_pair.call("preload", sequence, 0, k[:597], v[:597])
    tiny_pair.call("append", sequence, 0, k[597:], v[597:])
    for attention in (Exactly(16, 30), Exactly(16, 600), Exactly(1, 1, 65535)):
        [found] = tiny_pair.attend([(sequence, 0, q)], attention)
        assert np.isnan(found[3:]).all() and np.isfinite(found[:3]).all()
        assert tiny_pair.drives[0].last_flags & ResultFlag.NONFINITE


def test_scores_beyond_their_range(tiny_pair, rng):
    """Clipped scores, of tokens kept and of others, with an infinity beside them and without."""
    tokens = 600
    for bad, saturated in ((None, True), (3, True), (3, False), (500, True)):
        k, v = spread(rng, (2, tokens, 1, 64))
        q = spread(rng, (2, 64))
        if saturated:
            k[400:, 0] = 300 * np.sign(k[400:, 0])
            q[0] = 200
        if bad is not None:
            k[bad, 0, 5] = np.inf
        sequence = tiny_pair.open()
        tiny_pair.call("preload", sequence, 0, k, v)
        for attention in (Exactly(8, 50), Exactly(8, 600), Exactly(8, 2, 10), "dense"):
            tiny_pair.attend([(sequence, 0, q)], attention)


# Which tokens are kept


def telling(rng, scores):
    """q, k, v of a head whose estimate by one channel are ``scores`` and whose scores are all 0;
    ``told(out)`` is which tokens were kept, a power of two of them, 640 at most."""
    tokens, classes = len(scores), np.arange(len(scores)) % 64
    q, k, v = np.zeros((1, 64), FP16), np.zeros((tokens, 64), FP16), np.zeros((tokens, 64), FP16)
    places = rng.permutation(64)
    q[0, places[:2]] = 2, 1
    k[:, places[0]], k[:, places[1]] = scores, -2 * scores
    v[np.arange(tokens), classes] = 2.0 ** (np.arange(tokens) // 64)

    def told(out, kept):
        sums = (out.astype(float) * kept).astype(int)
        return (sums[classes] >> np.arange(tokens) // 64) & 1 == 1

    return q, k[:, None], v[:, None], told


@pytest.mark.parametrize("tokens, kept", [(640, 64), (640, 1), (600, 256), (301, 128), (17, 4)])
def test_the_tokens_kept_are_those_of_torch(tiny_pair, rng, tokens, kept):
    scores = (rng.permutation(tokens) - tokens / 2).astype(FP16) / 64
    q, k, v, told = telling(rng, scores)
    sequence = tiny_pair.open()
    tiny_pair.call("preload", sequence, 0, k, v)
    for sinks, window in ((0, 0), (kept // 4, kept // 2)):
        ranks = torch.from_numpy(scores.astype(np.float32))
        ranks[:sinks] += 1000
        ranks[tokens - window :] += 1000
        wanted = np.zeros(tokens, bool)
        wanted[torch.topk(ranks, kept).indices.numpy()] = True
        attention = Exactly(1, kept, sinks, window)
        [found] = tiny_pair.attend([(sequence, 0, q)], attention, scale=1.0)
        assert np.array_equal(told(found[0], kept), wanted)


def test_of_equal_scores_the_first_tokens_are_kept(tiny_pair, rng):
    scores = np.repeat([1, 3, 2], 200).astype(FP16)
    q, k, v, told = telling(rng, scores)
    sequence = tiny_pair.open()
    tiny_pair.call("preload", sequence, 0, k, v)
    for kept, ranges in ((128, [(200, 328)]), (256, [(200, 456)])):
        [found] = tiny_pair.attend([(sequence, 0, q)], Exactly(1, kept), scale=1.0)
        wanted = np.zeros(600, bool)
        for a, b in ranges:
            wanted[a:b] = True
        assert np.array_equal(told(found[0], kept), wanted)

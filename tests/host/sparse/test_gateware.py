"""Sparse attention on the gateware against its twin: outputs, flags and traffic, bit for bit. What
is of bounds alone is in `test_bounds_gateware`.

Which tokens are kept is seen from outside too: queries and keys are made so that all scores of what
is kept are equal, and the values so that their mean names the tokens.
"""

import numpy as np
import pytest
import torch

from cosim.reference import twin_attend
from flash_model.bit_errors import BitErrorRate
from host import Bounds, DriveConfig, DriveError, KvDrive, ResultFlag, Sparf, Status
from host.stats import difference
from rtl.commands import Opcode
from rtl.tables import PageKind
from tests.host.conftest import SEED
from tests.host.sparse.faulty import Faulty
from tests.host.sparse.jobs import NO_SELECTION, submit_jobs
from tests.host.sparse.pair import (
    BF16,
    EDGES,
    FP16,
    PAPER,
    TINY,
    Exactly,
    JustBounds,
    Pair,
    random_attends,
    spread,
)

pytestmark = pytest.mark.filterwarnings("ignore::host.errors.DriveWarning")

INDEXES = {"channel": Sparf, "bounds": Bounds}
"""What a sequence is opened with -> the attention that reads it."""


def exactly(index, kept, channels=7):
    """As many tokens, by one or the other."""
    return Exactly(channels, kept) if index == "channel" else JustBounds(kept)


def test_random_attends(tiny_pair):
    random_attends(tiny_pair, SEED, 12)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_many_random_attends(seed):
    for number in range(10):
        pair = Pair(TINY)
        random_attends(pair, 100 * seed + number, 12)
        pair.shutdown()


@pytest.mark.soak
@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels(channels):
    """The twin knows of no channels."""
    config = DriveConfig.preset("tiny", sparse_tokens=1024, channels=channels, max_queries_per_kv=2)
    for seed in range(4):
        pair = Pair(config)
        random_attends(pair, seed, 12, queries=2)
        pair.shutdown()


OF_PAPER = {"head_dims": (64, 128, 256), "queries": 2}


def test_pages_of_many_codewords(paper_pair):
    random_attends(paper_pair, SEED, 4, most=1500, **OF_PAPER)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_many_attends_of_pages_of_many_codewords(paper_pair, seed):
    random_attends(paper_pair, seed, 60, most=4096, **OF_PAPER)
    random_attends(paper_pair, seed, 6, most=16384, **OF_PAPER)


@pytest.mark.parametrize("index", INDEXES)
def test_lengths(tiny_pair, rng, index):
    """One sequence that grows from edge to edge."""
    sequence, held = tiny_pair.open(2, index=index), 0
    for number, tokens in enumerate(EDGES):
        new = spread(rng, (2, tokens - held, 2, 64))
        tiny_pair.call("append" if tokens < 300 else "preload", sequence, 0, *new)
        held = tokens
        q = spread(rng, (6, 64))
        attention = (INDEXES[index](1 / 8), exactly(index, max(1, tokens // 2)))[number % 2]
        tiny_pair.attend([(sequence, 0, q)], attention)


@pytest.mark.parametrize(
    ("index", "begin"),
    [
        ("channel", 252),
        ("bounds", 28),
        pytest.param("channel", 507, marks=pytest.mark.soak),
        pytest.param("bounds", 252, marks=pytest.mark.soak),
    ],
)
def test_steps_through_the_end_of_a_unit(tiny_pair, rng, index, begin):
    """Of two layers, one a token ahead; then a fork of it, truncated within the unit."""
    sequence = tiny_pair.open(2, layers=2, max_tokens=600, index=index)
    for layer in range(2):
        tiny_pair.call("preload", sequence, layer, *spread(rng, (2, begin + layer, 2, 64)))
    attention = {"channel": Sparf(1 / 4, sinks=2, window=5), "bounds": JustBounds(11, 2, 5)}[index]

    def step(*sequences, count=1):
        for number in range(count):
            jobs = [
                (n, (number + at) % 2, spread(rng, (4, 64)), *spread(rng, (2, 2, 64)))
                for at, n in enumerate(sequences)
            ]
            tiny_pair.attend(jobs, attention)

    step(sequence, sequence, count=5)
    fork = tiny_pair.fork(sequence)
    step(sequence, fork, count=2)
    tiny_pair.call("truncate", fork, begin + 2)
    step(fork, sequence, count=5)
    q = spread(rng, (4, 64))
    tiny_pair.attend([(n, at, q) for n in (fork, sequence) for at in range(2)], attention)


def test_batches(tiny_pair, rng):
    """Sequences of many lengths and formats in a list: some are kept whole, others not."""
    kinds = [(700, 1, FP16), (257, 2, BF16), (30, 1, FP16), (256, 2, FP16)]
    sequences = []
    for tokens, heads, dtype in kinds:
        sequence = tiny_pair.open(heads, dtype=dtype, max_tokens=tokens + 20)
        tiny_pair.call("preload", sequence, 0, *spread(rng, (2, tokens, heads, 64), dtype))
        sequences.append(sequence)

    def query(at):
        g = int(rng.integers(1, 5))
        return spread(rng, (kinds[at][1] * g, 64), (FP16, BF16)[rng.integers(2)])

    for attention in (Sparf(1 / 8), Exactly(9, 100)):
        order = [*rng.permutation(4), *rng.permutation(3)]
        tiny_pair.attend([(sequences[at], 0, query(at)) for at in order], attention)
        steps = []
        for at in rng.permutation(3):
            _, heads, dtype = kinds[at]
            steps.append((sequences[at], 0, query(at), *spread(rng, (2, heads, 64), dtype)))
        tiny_pair.attend(steps, attention)
        tiny_pair.attend([(sequences[at], 0, query(at)) for at in order], "dense")


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("tokens, kept", [(300, 300), (32, 2000), (513, 513)])
def test_dense_where_all_is_kept(tiny_pair, rng, tokens, kept, index):
    sequence = tiny_pair.open(index=index)
    tiny_pair.call("preload", sequence, 0, *spread(rng, (2, tokens, 1, 64)))
    q = spread(rng, (3, 64))
    [dense] = tiny_pair.attend([(sequence, 0, q)], "dense")
    for channels in (1, 64):
        [found] = tiny_pair.attend([(sequence, 0, q)], exactly(index, kept, channels))
        assert found.tobytes() == dense.tobytes()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("q", np.nan),
        ("q", np.inf),
        ("k column", np.nan),
        ("k beyond", -np.inf),
        ("k tail", np.inf),
        ("v first", np.inf),
        ("v last", np.nan),
    ],
)
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
    for attention in (Exactly(16, 30), Exactly(16, 600)):
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
        for attention in (Exactly(8, 50), Exactly(8, 600), "dense"):
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


# What is refused

REFUSED = {
    "channels 0": ({"channels": 0}, Status.INVALID_SELECTION),
    "channels": ({"channels": 65}, Status.INVALID_SELECTION),
    "many channels": ({"channels": 65535}, Status.INVALID_SELECTION),
    "kept 0": ({"kept": 0}, Status.INVALID_SELECTION),
    "no index": ({"sequence": "plain"}, Status.NO_INDEX),
    "channels, no index": ({"sequence": "plain", "channels": 0}, Status.INVALID_SELECTION),
    "empty": ({"sequence": "empty"}, Status.EMPTY_CONTEXT),
    "queries": ({"queries": 5}, Status.TOO_MANY_QUERY_HEADS),
    "layer": ({"layer": 1, "kept": 0}, Status.LAYER_OUT_OF_RANGE),
}


@pytest.mark.parametrize("opcode", [Opcode.ATTEND, Opcode.STEP])
def test_jobs_refused_leave_the_others_alone(tiny_pair, rng, opcode):
    drive, twin = tiny_pair.drives
    step = opcode == Opcode.STEP
    held = spread(rng, (2, 300, 1, 64))
    indexes = {"good": "channel", "other": "channel", "plain": "none", "empty": "channel"}
    names = {
        name: tiny_pair.open(max_tokens=400 if name != "empty" else 4, index=index)
        for name, index in indexes.items()
    }
    for name in ("good", "other", "plain"):
        tiny_pair.call("preload", names[name], 0, *held)
    refused = {n: x for n, x in REFUSED.items() if not (step and n == "empty")}
    jobs, wanted = [], []
    for at, (changes, status) in enumerate([*refused.values(), ({}, 0)]):
        for one in ({"sequence": ("good", "other")[at % 2]}, {"sequence": "good", **changes}):
            job = {"q": spread(rng, (2, 64)), "kv": spread(rng, (2, 64)), **one}
            if one is not changes and len(jobs) % 2 == 0:
                wanted.append((0, job["sequence"], job))
            else:
                wanted.append((status, job["sequence"], job))
            jobs.append(job | {"sequence": names[job["sequence"]][0]})
    if step:  # no more of a sequence than its tail takes
        jobs, wanted = jobs[:6], wanted[:6]
    before = drive.stats()
    completion, found = submit_jobs(drive, jobs, opcode)
    failed = [n for n, (status, *_) in enumerate(wanted) if status]
    assert [status for status, _ in found] == [status for status, *_ in wanted]
    assert (completion["status"], completion["index"]) == (wanted[failed[0]][0], failed[0])
    assert completion["result"] == len(failed) << 16
    counted = difference(drive.stats(), before)
    assert (counted["jobs"], counted["commands"]) == (len(jobs) - len(failed), 1)
    scale = 0.5 * np.log(2)  # what mant and exp say
    for (status, name, job), (_, raw) in zip(wanted, found, strict=True):
        if not status:
            more = [job["kv"][:1], job["kv"][1:]] if step else []
            attention = Exactly(NO_SELECTION["channels"], NO_SELECTION["kept"])
            call = twin.step if step else twin.attend
            out = call(names[name][1], 0, job["q"], *more, attention=attention, scale=scale)
            assert raw[: out.nbytes] == out.tobytes()
    for name in ("good", "other", "plain"):
        both = tiny_pair.call("read", names[name], 0, 0, 300)
        assert np.array_equal(both[0], both[1]) and np.array_equal(both[0], held)
        for number in range(2):
            tiny_pair.drives[number].truncate(names[name][number], 300)


@pytest.mark.parametrize(("mode", "partials"), [(1, 1), (3, 0), (15, 0)])
def test_commands_refused(tiny_pair, rng, mode, partials):
    drive = tiny_pair.drives[0]
    sequence = tiny_pair.open()
    tiny_pair.call("preload", sequence, 0, *spread(rng, (2, 20, 1, 64)))
    job = {"sequence": sequence[0], "q": spread(rng, (1, 64))}
    for opcode in (Opcode.ATTEND, Opcode.STEP):
        completion, found = submit_jobs(drive, [job], opcode, mode=mode, partials=partials)
        assert completion["status"] == Status.UNSUPPORTED_MODE
        assert found == [(0, bytes(len(found[0][1])))], "nothing is written"
    [_] = tiny_pair.attend([(sequence, 0, job["q"])], Exactly(3, 7))


def test_a_drive_without_sparse_attention(rng):
    with KvDrive(DriveConfig.preset("tiny"), backend="rtl") as drive:
        number = drive.open(layers=1, kv_heads=1, head_dim=64, index="channel")
        k, v = spread(rng, (2, 300, 1, 64))
        drive.preload(number, 0, k, v)
        q = spread(rng, (1, 64))
        before = drive.attend(number, 0, q)
        with pytest.raises(DriveError, match="sparse_tokens = 0"):
            drive.attend(number, 0, q, attention=Sparf(1 / 8))
        completion, _ = submit_jobs(drive, [{"sequence": number, "q": q}])
        assert completion["status"] == Status.UNSUPPORTED_MODE
        assert drive.attend(number, 0, q).tobytes() == before.tobytes()


# Faults of the flash


UNREAD = {
    "bounds": lambda f: (PageKind.COLUMNS, 3, True),
    "column": lambda f: (PageKind.COLUMNS, 64 + f.channels(True)[3], True),
    "other column": lambda f: (PageKind.COLUMNS, 64 + f.channels(False)[0], False),
    "K to estimate": lambda f: (PageKind.K, f.in_units // f.group, True),
    "K kept": lambda f: (PageKind.K, f.pages(True)[0], True),
    "V kept": lambda f: (PageKind.V, f.pages(True)[-1], True),
    "K not kept": lambda f: (PageKind.K, f.pages(False)[5], False),
    "V not kept": lambda f: (PageKind.V, f.pages(False)[-1], False),
}
"""Kind and page, and whether its loss is to be noticed."""


@pytest.mark.parametrize(
    ("index", "what"),
    [("channel", what) for what in UNREAD if what != "bounds"]
    + [("bounds", what) for what in UNREAD if "column" not in what],
)
def test_a_page_that_cannot_be_read(rng, index, what):
    """The drive then gives the page up for good."""
    faulty = Faulty(rng, attention=exactly(index, 20, channels=8))
    kind, page, fails = UNREAD[what](faulty)
    faulty.spoil(kind, page)
    assert faulty.attend_both() == (Status.UNRECOVERED_READ if fails else None)
    unread = faulty.drive.stats()["codewords_unrecovered"]
    assert unread >= 2 if fails else unread == 0
    if kind == PageKind.COLUMNS:
        k, v = faulty.k, faulty.v
        dense = twin_attend(faulty.q, k, v, 64**-0.5, pass_tokens=faulty.config.pass_tokens)
        assert faulty.drive.attend(faulty.number, 0, faulty.q).tobytes() == dense.out.tobytes()
    faulty.drive.shutdown()


def test_a_codeword_that_cannot_be_read(rng):
    """Other codewords of its page can, and no one else's are touched."""
    config = PAPER[1024]
    faulty = Faulty(rng, config)
    array, code = faulty.drive.backend.lane.array, config.code
    of_word = config.codeword_bytes // 128  # tokens
    keep = faulty.result.choice.keep[: faulty.TOKENS // faulty.group * faulty.group]
    words = keep.reshape(-1, faulty.group // of_word, of_word).any(axis=2)
    mixed = np.flatnonzero(words.any(axis=1) & ~words.all(axis=1))
    chosen = faulty.result.choice.channels.reshape(-1, 4)
    mixed_columns = np.flatnonzero(chosen.any(axis=1) & ~chosen.all(axis=1))
    cases = []
    in_units = faulty.in_units // faulty.group
    for kind, pages, wanted in (
        (PageKind.K, mixed[mixed < in_units], words),
        (PageKind.V, mixed, words),
        (PageKind.COLUMNS, mixed_columns, chosen),
    ):
        page = pages[0]
        cases += [(wanted[page, word], kind, page, word) for word in range(4)]
    # Those that are noticed come last, and one of them: the drive moves such a page.
    cases.sort(key=lambda case: case[0])
    for fails, kind, page, word in cases[: 1 + sum(not fails for fails, *_ in cases)]:
        place = faulty.place(kind, page)
        whole = array.page(*place)
        broken = whole.copy()
        at = 8 * code.words * word
        broken[at : at + 200] ^= 0x55
        array.write_page(*place, broken)
        status = faulty.attend_both()
        assert status == (Status.UNRECOVERED_READ if fails else None), (kind, page, word)
        array.write_page(*place, whole)
    assert fails and len(cases) == 12
    faulty.drive.shutdown()


def test_wrong_bits_are_corrected(rng):
    """1 or 2 of a codeword's; its code corrects 9."""
    rate = BitErrorRate(erases=1, fresh=3e-4, worn=0, disturbed=0)
    faulty = Faulty(rng, rate=rate)
    assert faulty.attend_both() is None
    stats = faulty.drive.stats()
    assert stats["bits_corrected"] > 100 and stats["codewords_unrecovered"] == 0
    faulty.drive.shutdown()


def test_pages_that_are_read_again(rng):
    """Pages a year old, with about 6 wrong bits in a codeword of t = 9, 2 at the next level."""
    rate = BitErrorRate(erases=1, fresh=1e-6, worn=0, kept=1.5e-3, disturbed=0)
    faulty = Faulty(rng, rate=rate)
    array = faulty.drive.backend.lane.array
    array.buffers["erase_counts"][:] = 1
    array.now_s = 365 * 86_400
    assert faulty.attend_both() is None
    stats = faulty.drive.stats()
    assert stats["read_retries"] > 4 and stats["codewords_unrecovered"] == 0
    faulty.drive.shutdown()


def test_a_unit_that_is_not_made(rng):
    """K of a page could not be read when its unit was due; later it can: all is estimated from K,
    more than a unit of groups, until the next append makes the unit."""
    faulty = Faulty(rng)
    drive, number = faulty.drive, faulty.number
    tokens = 3 * faulty.config.unit_tokens
    k, v = np.concatenate([np.stack([faulty.k, faulty.v]), spread(rng, (2, 250, 64))], axis=1)
    drive.append(number, 0, k[603 : tokens - 1, None], v[603 : tokens - 1, None])
    faulty.spoil(PageKind.K, 3 * faulty.config.unit_tokens // faulty.group - 7)
    drive.append(number, 0, k[tokens - 1, None, None], v[tokens - 1, None, None])
    drive.backend.driver.quiesce()
    faulty.faults.bit_flips.clear()
    twin = KvDrive(faulty.config, backend="twin")
    other = twin.open(layers=1, kv_heads=1, head_dim=64, index="channel")
    twin.append(other, 0, k[:tokens, None], v[:tokens, None])
    columns = []
    for at in range(tokens, tokens + 5):
        new = k[None, at], v[None, at]
        attention = (faulty.attention, Sparf(1 / 4))[at % 2]
        drive.backend.driver.quiesce()
        before = drive.stats()["pages_read"]
        found = drive.attend(number, 0, faulty.q, attention=attention)
        columns.append(drive.stats()["pages_read"] - before)
        assert found.tobytes() == twin.attend(other, 0, faulty.q, attention=attention).tobytes()
        found = drive.step(number, 0, faulty.q, *new, attention=attention)
        wanted = twin.step(other, 0, faulty.q, *new, attention=attention)
        assert found.tobytes() == wanted.tobytes()
    assert columns[0] > columns[-1]  # K of a unit, then columns
    drive.shutdown()


# Time


def timed_run(index, skip_idle):
    """Cycles and counters after each of some calls, outputs, and the clocks evaluated."""
    rng = np.random.default_rng(SEED)
    trail, outputs = [], []
    with KvDrive(TINY, backend="rtl", skip_idle=skip_idle) as drive:
        shape = {"layers": 1, "kv_heads": 2, "head_dim": 64, "max_tokens": 400}
        sequences = [drive.open(**shape, index=index) for _ in range(2)]
        for number, tokens in zip(sequences, (254, 40), strict=True):
            drive.append(number, 0, *spread(rng, (2, tokens, 2, 64)))
        for turn in range(3):
            by_ratio = INDEXES[index](1 / 8, sinks=1, window=2)
            attention = (by_ratio, exactly(index, 50, channels=5))[turn % 2]
            jobs = [(n, 0, spread(rng, (4, 64)), *spread(rng, (2, 2, 64))) for n in sequences]
            outputs += drive.attend_batch(jobs, attention=attention)
            outputs += drive.attend_batch([job[:3] for job in jobs], attention=attention)
            trail.append(drive.stats())
            del trail[-1]["simulated_clocks"]
        return trail, outputs, drive.backend.lane.cycle, drive.backend.lane.simulated_clocks


@pytest.mark.parametrize("index", INDEXES)
def test_skipping_idle_time_changes_nothing(index):
    skipped, outputs, cycles, clocks = timed_run(index, True)
    stepped, expected, all_cycles, all_clocks = timed_run(index, False)
    assert skipped == stepped and cycles == all_cycles and clocks < all_clocks
    assert all(map(np.array_equal, outputs, expected))

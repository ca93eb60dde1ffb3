"""Any calls in any order: a drive against a dictionary of numpy arrays.

Histories of `open`, `append`, `step`, `attend`, `read`, `fork`, `truncate`, `close`, `flush` and
`power_cycle` are drawn by hypothesis, and shrunk when one fails. The twin backend is held to
float64 mathematics; the gateware, on flash with pages and blocks that fail, to the twin's
arithmetic on the dictionary's arrays. Sequences may be opened with K by channel, or bounds of K:
their pages are read back and compared with the dictionary's K.
"""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cosim.reference import twin_attend
from flash_model.faults import Faults
from host import DriveConfig, DriveError, KvDrive
from rtl.commands import Status
from tests.host.columns import check_columns
from tests.host.fake_drive.lane import FakeLane

LAYERS, KV_HEADS, DIM, QUERIES = 2, 2, 64, 2
SHAPE = {"layers": LAYERS, "kv_heads": KV_HEADS, "head_dim": DIM}
MOST = 480
"""Tokens of a sequence: a quarter of the drive."""
STEPS = 300
"""Steps of one history."""
CONFIG = DriveConfig.preset("tiny", die_parts=2, append_streams=4)
BOUNDS = dataclasses.replace(CONFIG, sparse_tokens=512, bounds=True)
COUNTS = strategies.one_of(strategies.integers(1, 9), strategies.integers(100, MOST))
SEEDS = strategies.integers(0, 2**32 - 1)

seen: Counter = Counter()
"""Calls made, calls refused, and what became of the flash."""


class Calls(RuleBasedStateMachine):
    """Calls of a drive and what it must hold."""

    sequences = Bundle("sequences")
    config = BOUNDS
    indexes = ("none", "channel", "bounds")

    def __init__(self):
        super().__init__()
        self.kept = {}  # number -> per layer [K, V], each [tokens, kv_heads, head_dim]
        self.flushed = {}  # number -> tokens of each layer
        self.indexed = {}  # number -> what is kept of K besides

    @initialize(seed=SEEDS)
    def power_on(self, seed):
        self.drive = self.make(seed)

        self.fill()

    def make(self, seed):
        return KvDrive(self.config, backend="twin")

    def fill(self):
        """The drive is promised to sequences until it has no room for one more."""
        numbers = []
        while not self.refused(lambda: self.drive.open(**SHAPE, max_tokens=MOST + MOST // 4)):
            numbers.append(self.number)
        assert len(numbers) == 3
        for number in numbers:
            self.drive.close(number)

    def teardown(self):
        if hasattr(self, "drive"):
            self.note()
            self.drive.shutdown()

    def note(self):
        """What became of the flash since power came."""
        stats = self.drive.stats()
        for name in ("blocks_erased", "program_failures", "pages_moved", "pages_lost"):
            seen[name] += stats[name] or 0

    def refused(self, call):
        """Whether the drive has no room for a call; it then changes nothing."""
        seen["calls"] += 1
        try:
            self.number = call()
        except DriveError as error:
            assert error.status == Status.NO_SPACE, error
            seen["refused for want of space"] += 1
            return True
        return False

    def has_numbers(self):
        return len(self.kept) < self.config.max_sequences

    @precondition(has_numbers)
    @rule(
        target=sequences,
        most=strategies.sampled_from([9, 150, MOST, MOST]),
        index=strategies.integers(0, 2),
    )
    def open(self, most, index):
        index = self.indexes[index]
        if self.refused(lambda: self.drive.open(**SHAPE, max_tokens=most, index=index)):
            return multiple()
        if index != "none":
            self.indexed[self.number] = index
        empty = np.zeros((0, KV_HEADS, DIM), np.float16)
        self.kept[self.number] = most, [[empty, empty] for _ in range(LAYERS)]
        self.flushed[self.number] = [0] * LAYERS
        return self.number

    @precondition(has_numbers)
    @rule(target=sequences, old=sequences)
    def fork(self, old):
        if self.refused(lambda: self.drive.fork(old)):
            return multiple()
        most, layers = self.kept[old]
        self.kept[self.number] = most, [list(pair) for pair in layers]
        self.flushed[self.number] = [0] * LAYERS
        if old in self.indexed:
            self.indexed[self.number] = self.indexed[old]
        return self.number

    @rule(number=sequences, wanted=COUNTS, both=strategies.booleans(), seed=SEEDS)
    def append(self, number, wanted, both, seed):
        most, layers = self.kept[number]
        rng = np.random.default_rng(seed)
        for layer in range(LAYERS) if both else [int(rng.integers(LAYERS))]:
            count = min(wanted, most - len(layers[layer][0]))
            if count:
                scale = np.float16(2.0 ** rng.integers(-6, 7))
                new = rng.standard_normal((2, count, KV_HEADS, DIM)).astype(np.float16) * scale
                self.drive.append(number, layer, *new)
                layers[layer] = [np.concatenate(pair) for pair in zip(layers[layer], new)]
            seen["calls"] += 1

    @rule(number=sequences, layer=strategies.integers(0, LAYERS - 1), seed=SEEDS)
    def step(self, number, layer, seed):
        most, layers = self.kept[number]
        if len(layers[layer][0]) < most:
            rng = np.random.default_rng(seed)
            q = rng.standard_normal((QUERIES * KV_HEADS, DIM)).astype(np.float16)
            new = [rng.standard_normal((1, KV_HEADS, DIM)).astype(np.float16) for _ in "kv"]
            out = self.drive.step(number, layer, q, new[0][0], new[1][0])
            layers[layer] = [np.concatenate(pair) for pair in zip(layers[layer], new)]
            self.judge(out, q, *layers[layer])
        seen["calls"] += 1

    @rule(number=sequences, layer=strategies.integers(0, LAYERS - 1), seed=SEEDS)
    def attend(self, number, layer, seed):
        _, layers = self.kept[number]
        if len(layers[layer][0]):
            rng = np.random.default_rng(seed)
            q = rng.standard_normal((QUERIES * KV_HEADS, DIM)).astype(np.float16)
            self.judge(self.drive.attend(number, layer, q), q, *layers[layer])
        seen["calls"] += 1

    @rule(number=sequences, layer=strategies.integers(0, LAYERS - 1))
    def read(self, number, layer):
        _, layers = self.kept[number]
        assert self.drive.tokens(number, layer) == len(layers[layer][0])
        self.columns(number)
        if len(layers[layer][0]):
            assert all(map(np.array_equal, self.drive.read(number, layer), layers[layer]))
        seen["calls"] += 1

    @rule(number=sequences, share=strategies.floats(0, 1))
    def truncate(self, number, share):
        most, layers = self.kept[number]
        tokens = round(share * max(len(pair[0]) for pair in layers))
        if not self.refused(lambda: self.drive.truncate(number, tokens)):
            self.kept[number] = most, [[x[:tokens] for x in pair] for pair in layers]
            self.flushed[number] = [min(held, tokens) for held in self.flushed[number]]

    @rule(number=sequences, every=strategies.booleans())
    def flush(self, number, every):
        if not self.refused(lambda: self.drive.flush(None if every else number)):
            for each in self.kept if every else [number]:
                self.flushed[each] = [len(pair[0]) for pair in self.kept[each][1]]

    @precondition(lambda self: self.flushed)
    @rule(seed=SEEDS)
    def power_cycle(self, seed):
        if seed % 8:
            return
        self.note()
        lost = self.drive.power_cycle(seed)
        assert lost.keys() == self.kept.keys()
        for number, (most, layers) in self.kept.items():
            held = [self.drive.tokens(number, layer) for layer in range(LAYERS)]
            for layer, (k, _) in enumerate(layers):
                assert self.flushed[number][layer] <= held[layer] <= len(k)
                assert lost[number][layer] == len(k) - held[layer]
            cut = [[x[:tokens] for x in pair] for pair, tokens in zip(layers, held, strict=True)]
            self.kept[number] = most, cut
        seen["power cycles"] += 1
        seen["tokens lost"] += sum(map(sum, lost.values()))

    @rule(number=consumes(sequences))
    def close(self, number):
        self.columns(number)
        self.drive.close(number)
        del self.kept[number], self.flushed[number]
        self.indexed.pop(number, None)
        seen["calls"] += 1

    def columns(self, number):
        """K by channel or bounds, where they are kept, against K."""
        if number in self.indexed:
            self.compare_columns(number)

    def compare_columns(self, number):
        """The twin has no flash."""

    def judge(self, out, q, k, v):
        """Against float64 mathematics, within what the results' own rounding costs."""
        for head in range(len(q)):
            keys, values = (x[:, head // QUERIES].astype(float) for x in (k, v))
            scores = keys @ q[head].astype(float) / math.sqrt(DIM)
            weights = np.exp(scores - scores.max())
            wanted = weights @ values / weights.sum()
            error = np.linalg.norm(out[head] - wanted) / np.linalg.norm(wanted)
            assert error < 1e-3, (head, error)


class OnFlash(Calls):
    """Calls of a drive with flash."""

    def compare_columns(self, number):
        """Some may be missing from a loss of power on: they come with the next append."""
        keys = [k for k, _ in self.kept[number][1]]
        pages = check_columns(self.drive, number, keys, whole=False)
        seen[f"pages of {self.indexed[number]}"] += pages


class FakeCalls(OnFlash):
    """The same with driver and firmware on the fake lane."""

    indexes = ("bounds", "channel", "bounds")

    def make(self, seed):
        return KvDrive(self.config, backend="rtl", lane=FakeLane(self.config))


class GatewareCalls(OnFlash):
    """The same on gateware and flash that fails now and then."""

    config = CONFIG
    indexes = ("none", "none", "channel")

    def make(self, seed):
        rng = np.random.default_rng(seed)
        g = self.config.flash.geometry

        # A channel has two spares, one of which takes in pages of a block that fails: it stands one
        # fault. With more the drive takes no more tokens. The page that fails is among those that
        # one long append reaches: hardly a history goes without it.
        page, block = rng.permutation(g.channels)[:2]
        is_bad = bool(rng.integers(2))

        def somewhere(channel, last):
            return int(channel), int(rng.integers(g.dies)), int(rng.integers(last))

        faults = Faults(
            g,
            seed=seed,
            weak_pages={somewhere(page, 6 * g.pages): 0},
            weak_blocks={} if is_bad else {somewhere(block, 60): int(rng.integers(3))},
            bad_blocks=[somewhere(block, 60)] if is_bad else [],
        )
        return KvDrive(self.config, backend="rtl", faults=faults)

    def judge(self, out, q, k, v):
        """Against the twin, bit for bit."""
        for head in range(KV_HEADS):
            mine = slice(head * QUERIES, (head + 1) * QUERIES)
            wanted = twin_attend(
                q[mine],
                k[:, head],
                v[:, head],
                1 / math.sqrt(DIM),
                pass_tokens=self.config.pass_tokens,
            )
            assert np.array_equal(out[mine], wanted.out), head


class BoundsOnGateware(GatewareCalls):
    """The same with bounds."""

    config = BOUNDS
    indexes = ("none", "bounds", "channel")


def run(machine, histories):
    """Histories of `STEPS` calls."""
    seen.clear()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    # hypothesis draws from the constants of the project's code, too: other code, other histories.
    print("", *(f"{count:8} {what}" for what, count in seen.items()), sep="\n")
    assert seen["pages_lost"] == 0


def test_twin():
    run(Calls, 15)
    assert seen["calls"] > 2000


def test_firmware():
    run(FakeCalls, 3)
    assert seen["calls"] > 400
    assert seen["pages of channel"] + seen["pages of bounds"] and seen["blocks_erased"]


def test_gateware():
    run(GatewareCalls, 5)
    assert seen["calls"] > 500
    assert seen["blocks_erased"] > 100 and seen["pages_moved"]


@pytest.mark.soak
def test_twin_for_long():
    run(Calls, 450)
    assert seen["calls"] > 100_000


@pytest.mark.soak
@pytest.mark.parametrize("machine", [GatewareCalls, BoundsOnGateware])
def test_gateware_for_long(machine):
    run(machine, 40)
    assert seen["calls"] > 10_000

"""Sequences that open, grow in batches of changing members, and close, at any time, on one drive.

The reference is softmax attention in float64 over plain numpy copies of what each sequence holds.
"""

import numpy as np
import pytest

from tests.host.conftest import make_drive
from tests.host.test_drive import close, softmax_attend

LAYERS, KV_HEADS, HEADS, DIM = 2, 2, 4, 64


class Crowd:
    """A drive and what each of its open sequences must hold: layer -> [k, v] lists of tokens."""

    def __init__(self, drive, rng):
        self.drive, self.rng = drive, rng
        self.held, self.room = {}, {}

    def normal(self, *shape):
        return self.rng.standard_normal(shape).astype(np.float16)

    def open(self, tokens):
        """A new sequence with a prompt."""
        number = self.drive.open(
            layers=LAYERS, kv_heads=KV_HEADS, head_dim=DIM, max_tokens=tokens + 20
        )
        assert number not in self.held
        self.room[number] = tokens + 20
        self.held[number] = []
        for layer in range(LAYERS):
            k, v = self.normal(tokens, KV_HEADS, DIM), self.normal(tokens, KV_HEADS, DIM)
            self.drive.append(number, layer, k, v)
            self.held[number].append([k, v])

    def close(self, number):
        self.drive.close(number)
        del self.held[number]

    def step(self, members):
        """One token of each member, one command per layer."""
        for layer in range(LAYERS):
            jobs, expected = [], []
            for number in members:
                new = [self.normal(KV_HEADS, DIM) for _ in "kv"]
                store = self.held[number][layer]
                store[:] = [np.concatenate([x, y[None]]) for x, y in zip(store, new, strict=True)]
                q = self.normal(HEADS, DIM)
                jobs.append((number, layer, q, *new))
                expected.append(softmax_attend(q, *store))
            before = self.drive.stats()["commands"]
            outputs = self.drive.attend_batch(jobs)
            assert self.drive.stats()["commands"] == before + 1
            assert all(close(out, want) for out, want in zip(outputs, expected, strict=True))

    def check_contents(self):
        for number, layers in self.held.items():
            for layer, store in enumerate(layers):
                for got, kept in zip(self.drive.read(number, layer), store, strict=True):
                    assert np.array_equal(got, kept)


@pytest.mark.parametrize(("backend", "events"), [("twin", 90), ("golden", 90), ("rtl", 40)])
def test_sequences_come_and_go(tiny, rng, backend, events):
    with make_drive(backend, tiny) as drive:
        crowd, opened, most = Crowd(drive, rng), 0, 0
        for _ in range(events):
            full = [n for n, layers in crowd.held.items() if len(layers[0][0]) == crowd.room[n]]
            kind = rng.choice(["open", "open", "close", "step", "step", "step"])
            if full or (kind == "close" and crowd.held):
                crowd.close(full[0] if full else int(rng.choice(list(crowd.held))))
            elif kind == "open" and len(crowd.held) < tiny.max_sequences or not crowd.held:
                crowd.open(int(rng.integers(1, 40)))
                opened += 1
            else:
                count = int(rng.integers(1, len(crowd.held) + 1))
                crowd.step(rng.permutation(list(crowd.held))[:count].tolist())
            most = max(most, len(crowd.held))
        crowd.check_contents()
    assert most == tiny.max_sequences and opened > most

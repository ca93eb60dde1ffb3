"""What a batch of short contexts costs: clocks of a layer's step, a row, by batch size.

Run with ``-s`` for the figures of docs/decisions/0017.
"""

import math

import numpy as np

from host import DriveConfig, KvDrive

LAYERS, KV_HEADS, QUERIES, HEAD_DIM = 2, 3, 3, 64
CONTEXTS = (33, 45, 36, 58, 40, 52, 34, 48)  # one group on flash, the rest in the tail


def test_a_batch_of_short_contexts_does_not_wait_for_a_sense_a_row():
    rng = np.random.default_rng(1)
    config = DriveConfig.preset("default")
    t_r = math.ceil(config.flash.timing.t_r_ns * config.clock_hz / 10**9)

    def random(*shape):
        return rng.standard_normal(shape).astype(np.float16)

    per_row = {}
    with KvDrive(config, backend="rtl") as drive:
        lane = drive.backend.lane
        for batch in (1, 2, 4, 8):
            sequences = []
            for tokens in CONTEXTS[:batch]:
                sequence = drive.open(
                    layers=LAYERS, kv_heads=KV_HEADS, head_dim=HEAD_DIM, max_tokens=128
                )
                for layer in range(LAYERS):
                    shape = (tokens, KV_HEADS, HEAD_DIM)
                    drive.preload(sequence, layer, random(*shape), random(*shape))
                sequences.append(sequence)
            start = lane.cycle
            for layer in range(LAYERS):
                q = random(batch, KV_HEADS * QUERIES, HEAD_DIM)
                k, v = random(2, batch, KV_HEADS, HEAD_DIM)
                drive.attend_batch(
                    [(s, layer, *row) for s, *row in zip(sequences, q, k, v, strict=True)]
                )
            per_row[batch] = (lane.cycle - start) / (LAYERS * batch)
            print(f"\nbatch of {batch}: {per_row[batch]:.0f} clocks a layer and row")
            for sequence in sequences:
                drive.close(sequence)
    assert per_row[1] >= t_r  # at least one sense
    assert per_row[8] <= t_r / 2  # the rows' senses overlap; one after another it would be t_r

"""Skipping idle time changes nothing: the whole drive, step by step, with and without it."""

import numpy as np

from host import DriveConfig, KvDrive

COUNTED = (
    "cycles", "time_data", "time_command", "time_engine", "time_arrays", "time_dma", "time_idle",
    "pages_read", "pages_programmed", "bytes_flash", "bytes_tail", "channel_counters",
)  # fmt: skip


def run(skip_idle, seed):
    """Cycle and counters after each call of a random run, outputs, and the clocks evaluated."""
    rng = np.random.default_rng(seed)

    def random(*shape):
        return rng.standard_normal(shape).astype(np.float16)

    trail, outputs = [], []
    with KvDrive(DriveConfig.preset("tiny"), backend="rtl", skip_idle=skip_idle) as drive:
        shapes = [(2, 64, 3), (1, 128, 1)]
        sequences = [
            drive.open(layers=2, kv_heads=h, head_dim=d, max_tokens=200) for h, d, _ in shapes
        ]
        for _ in range(40):
            choice = rng.integers(2)
            (heads, d, queries), sequence = shapes[choice], sequences[choice]
            layer, action = int(rng.integers(2)), rng.integers(4)
            if action == 0 or not drive.tokens(sequence, layer):
                tokens = int(rng.integers(1, 12))
                drive.append(sequence, layer, random(tokens, heads, d), random(tokens, heads, d))
            elif action == 1:
                outputs.append(drive.attend(sequence, layer, random(heads * queries, d)))
            elif action == 2:
                outputs.append(
                    drive.step(
                        sequence,
                        layer,
                        random(heads * queries, d),
                        random(heads, d),
                        random(heads, d),
                    )
                )
            else:
                outputs.append(drive.read(sequence, layer, 0, drive.tokens(sequence, layer))[0])
            stats = drive.stats()
            trail.append([stats[name] for name in COUNTED])
        return trail, outputs, drive.backend.lane.cycle, drive.backend.lane.simulated_clocks


def test_cycles_counters_and_outputs_are_the_same():
    for seed in range(3):
        skipped, outputs, cycles, clocks = run(True, seed)
        stepped, expected, all_cycles, all_clocks = run(False, seed)
        assert skipped == stepped
        assert cycles == all_cycles
        assert clocks < all_clocks
        for mine, other in zip(outputs, expected, strict=True):
            assert np.array_equal(mine.view(np.uint16), other.view(np.uint16))

"""A session of random calls of a drive, the same whoever plays it: on AXI buses, or natively.

Sequences come and go; each call appends, attends, steps (alone or in a batch), reads or cuts.
"""

import numpy as np

from host import Sparf

__all__ = ["play"]

LAYERS, KV_HEADS, HEAD_DIM, MOST = 2, 2, 64, 64
OPEN = {"layers": LAYERS, "kv_heads": KV_HEADS, "head_dim": HEAD_DIM, "max_tokens": MOST}
SEQUENCES = 3


def play(drive, seed, calls, before=None):
    """Yields what each of the calls returned, as 16-bit patterns.

    Parameters
    ----------
    drive : KvDrive
    seed, calls : int
    before : callable, optional
        Called before each call.
    """
    rng = np.random.default_rng(seed)
    numbers = [drive.open(**OPEN, index="channel") for _ in range(SEQUENCES)]
    held = {number: [0] * LAYERS for number in numbers}

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float16)

    def queries():
        return normal(KV_HEADS * int(rng.integers(1, 4)), HEAD_DIM)

    for _ in range(calls):
        number, layer = int(rng.choice(list(held))), int(rng.integers(LAYERS))
        tokens = held[number][layer]
        what = rng.choice(["append", "attend", "attend", "step", "steps", "sparse", "read", "cut"])
        if before:
            before()
        if what == "cut" or tokens + 2 > MOST:
            keep = int(rng.integers(max(held[number]) + 1))
            drive.truncate(number, keep)
            held[number] = [min(keep, of_layer) for of_layer in held[number]]
            if not keep:
                drive.close(number)
                del held[number]
                held[drive.open(**OPEN, index="channel")] = [0] * LAYERS
            outputs = []
        elif what == "append" or not tokens:
            new = int(rng.integers(1, min(20, MOST - tokens) + 1))
            drive.append(number, layer, normal(new, KV_HEADS, HEAD_DIM), normal(new, 2, HEAD_DIM))
            held[number][layer] += new
            outputs = []
        elif what == "step":
            k, v = normal(2, KV_HEADS, HEAD_DIM)
            outputs = [drive.step(number, layer, queries(), k, v)]
            held[number][layer] += 1
        elif what == "steps":
            jobs = []
            for other, of_layers in held.items():
                q, (k, v) = queries(), normal(2, KV_HEADS, HEAD_DIM)
                if of_layers[layer] < MOST:
                    jobs.append((other, layer, q, k, v))
                    of_layers[layer] += 1
            outputs = drive.attend_batch(jobs)
        elif what == "read":
            first = int(rng.integers(tokens))
            outputs = drive.read(number, layer, first, int(rng.integers(first, tokens)) + 1)
        else:
            some = Sparf(channels=int(rng.integers(1, HEAD_DIM)), kept=int(rng.integers(1, 20)))
            how = some if what == "sparse" else "dense"
            outputs = [drive.attend(number, layer, queries(), attention=how)]
        yield [np.asarray(output).view(np.uint16).copy() for output in outputs]

"""Each operation of the controller, over the pins."""

import numpy as np

from rtl.nand.operations import NandOp
from tests.rtl.phy.channel import words

__all__ = ["every_operation"]

PAGE_WORDS = 8


def every_operation(bench, jedec_id, onfi_id):
    """Have a bench of two dies do each on each die, over each other; what comes back is right."""
    rng = np.random.default_rng(3)
    dies = range(2)
    new = {die: rng.integers(0, 256, 64, dtype=np.uint8).tobytes() for die in dies}
    old = rng.integers(0, 256, 64, dtype=np.uint8).tobytes()
    for die in dies:
        bench.array.write_page(0, die, 40, old)
    read = {"op": NandOp.READ, "words": PAGE_WORDS}
    ops = [
        *({"op": NandOp.RESET, "die": die} for die in dies),
        {"op": NandOp.READ_ID, "die": 0, "row": 0x00},
        {"op": NandOp.READ_ID, "die": 1, "row": 0x20},
        {"op": NandOp.STATUS, "die": 0},
        *({"op": NandOp.PROGRAM, "die": die, "row": 3, "words": PAGE_WORDS} for die in dies),
        *({**read, "die": die, "row": row} for row in (40, 3) for die in dies),
        {**read, "row": 3, "column": 5, "words": 2},
        {"op": NandOp.READ_RETRY, "die": 0, "row": 5},
        {"op": NandOp.ERASE, "die": 0, "row": 40},
        {**read, "row": 40},
    ]
    got, done = bench.run(ops, [word for die in dies for word in words(new[die])])
    assert got == [
        words(jedec_id),
        words(onfi_id),
        *[words(old)] * 2,
        words(new[0]),
        words(new[1]),
        words(new[0])[5:7],
        [(1 << 64) - 1] * PAGE_WORDS,
    ]
    assert [d.status for d in done if d.op == NandOp.STATUS] == [0xE0]
    assert not any(d.failed for d in done)

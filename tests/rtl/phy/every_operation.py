"""Operations of the controller, over the pins."""

import numpy as np

from rtl.nand.operations import NandOp
from tests.rtl.phy.channel import words

__all__ = ["every_operation", "random_operations"]

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


def random_operations(bench, count, seed=5):
    """Programs, reads of parts of pages and statuses of random dies and planes; data are right."""
    rng = np.random.default_rng(seed)
    geometry = bench.part.geometry
    written: dict[int, list[tuple[int, bytes]]] = {die: [] for die in range(bench.dies)}
    ops, data, expected = [], [], []
    for _ in range(count):
        die = int(rng.integers(bench.dies))
        kind = rng.choice([NandOp.PROGRAM, NandOp.READ, NandOp.READ, NandOp.STATUS])
        if kind == NandOp.STATUS:
            ops.append({"op": kind, "die": die})
        elif kind == NandOp.PROGRAM or not written[die]:
            page = len(written[die]) // geometry.planes
            for plane in range(geometry.planes):
                row = plane * geometry.pages + page
                written[die].append((row, rng.integers(0, 256, 64, dtype=np.uint8).tobytes()))
                ops.append({"op": NandOp.PROGRAM, "die": die, "row": row, "words": PAGE_WORDS})
                data += words(written[die][-1][1])
        else:
            for row, page in written[die][-geometry.planes :]:
                first = int(rng.integers(PAGE_WORDS))
                some = int(rng.integers(1, PAGE_WORDS + 1 - first))
                ops.append(
                    {"op": NandOp.READ, "die": die, "row": row, "column": first, "words": some}
                )
                expected.append(words(page)[first : first + some])
    got, done = bench.run(ops, data, timeout=10_000 + 1_000 * count)
    assert got == expected
    assert not any(d.failed for d in done)

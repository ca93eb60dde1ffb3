"""A sequence that grows by one token at a time attends like the twin, at every length."""

import numpy as np
import pytest

from cosim.reference import twin_attend
from host import DriveConfig, KvDrive
from host.checks import checked_scale

HEADS, QUERIES = 1, 2


def grow(config, rng, tokens, compared, head_dim):
    """Token by token to ``tokens``; at the lengths in ``compared`` a step, its result against the
    twin's."""
    k, v = rng.standard_normal((2, tokens, HEADS, head_dim)).astype(np.float16)
    q = rng.standard_normal((tokens, HEADS * QUERIES, head_dim)).astype(np.float16)
    scale = checked_scale(None, head_dim)[0]
    wrong = []
    with KvDrive(config) as drive:
        number = drive.open(layers=1, kv_heads=HEADS, head_dim=head_dim, max_tokens=tokens)
        for at in range(tokens):
            if at + 1 not in compared:
                drive.append(number, 0, k[at : at + 1], v[at : at + 1])
            else:
                got = drive.step(number, 0, q[at], k[at], v[at])
                wanted = twin_attend(
                    q[at], k[: at + 1, 0], v[: at + 1, 0], scale, pass_tokens=config.pass_tokens
                )
                if not np.array_equal(got.view(np.uint16), wanted.out.view(np.uint16)):
                    wrong.append(at + 1)
            if (at + 1) % 512 == 0:
                print(f"{at + 1} tokens, differences at {wrong}", flush=True)
        drive.backend.driver.quiesce()
        assert all(map(np.array_equal, drive.read(number, 0), (k, v)))
        print(f"{len(compared)} lengths up to {max(compared)}, {drive.stats()['cycles']} cycles")
    assert not wrong


def test_every_length_to_300(tiny, rng):
    """Groups are of 4 tokens and passes of 256, so tail, groups and passes begin and end here."""
    grow(tiny, rng, 300, set(range(1, 301)), head_dim=64)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_to_4096_tokens(rng):
    """A step of 4096 tokens reads 2048 pages."""
    config = DriveConfig.preset("tiny", max_tokens=4096)
    beyond = rng.choice(np.arange(301, 4097), 100, replace=False).tolist()
    grow(config, rng, 4096, {*range(1, 301), *beyond, 4096}, head_dim=64)

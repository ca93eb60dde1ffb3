"""How long the drive takes for a layer of SmolLM2, against the times of its flash.

Run with ``-s`` for the figures of docs/decisions/0003: clocks of a step before and after groups
were flushed, and of the prefill.
"""

import math

import numpy as np

from host import DriveConfig, KvDrive
from rtl.tables import group_channel

LAYERS, KV_HEADS, QUERIES, HEAD_DIM = 8, 3, 3, 64
PROMPT, STEPS = 342, 12
OVERHEAD = 0.4
"""Share of a tR that command, link, K to V turn and merge may add; a second tR would be 1."""


def flash_clocks(config, tokens):
    """One tR and the pages of the fullest channel, from the profile."""
    timing, hz = config.flash.timing, config.clock_hz
    t_r = math.ceil(timing.t_r_ns * hz / 10**9)
    page = config.flash.geometry.page_bytes / (timing.rate_mts * 10**6 / hz)
    full = np.arange(tokens // config.group_tokens(HEAD_DIM))
    pages = 2 * sum(
        np.bincount(group_channel(full, 0, KV_HEADS, head, config.channels), minlength=16)
        for head in range(KV_HEADS)
    )
    return t_r, t_r + pages.max() * page


def test_a_layer_waits_for_one_sense_however_its_pages_came_to_be_written():
    rng = np.random.default_rng(3)
    config = DriveConfig.preset("default")

    def random(*shape):
        return rng.standard_normal(shape).astype(np.float16)

    with KvDrive(config, backend="rtl") as drive:
        lane = drive.backend.lane
        sequence = drive.open(layers=LAYERS, kv_heads=KV_HEADS, head_dim=HEAD_DIM, max_tokens=512)

        def settle():
            drive.backend.driver.quiesce()
            lane.idle(500_000)  # no page is being programmed any more

        start = lane.cycle
        for layer in range(LAYERS):
            shape = (PROMPT, KV_HEADS, HEAD_DIM)
            drive.append(sequence, layer, random(*shape), random(*shape))
        print(f"\nprefill of {PROMPT} tokens, {LAYERS} layers: {lane.cycle - start} clocks")
        for tokens in range(PROMPT + 1, PROMPT + STEPS + 1):
            settle()
            clocks = []
            for layer in range(LAYERS):
                q = random(KV_HEADS * QUERIES, HEAD_DIM)
                k, v = random(KV_HEADS, HEAD_DIM), random(KV_HEADS, HEAD_DIM)
                start = lane.cycle
                drive.step(sequence, layer, q, k, v)
                clocks.append(lane.cycle - start)
                settle()
            on_flash = tokens - 1 if tokens % config.group_tokens(HEAD_DIM) == 0 else tokens
            t_r, bound = flash_clocks(config, on_flash)
            print(
                f"step at {tokens} tokens: {np.mean(clocks):.0f} clocks a layer, flash {bound:.0f}"
            )
            assert bound <= min(clocks) and max(clocks) <= bound + OVERHEAD * t_r

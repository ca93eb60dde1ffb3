"""cocotb side of test_cocotb_drive.py: the host's driver and firmware on the drive's ports."""

import cocotb
import numpy as np
import torch
from cocotb.task import bridge
from cocotb.triggers import with_timeout

from cosim.cocotb_lane import CocotbLane
from cosim.golden import attend, attend_rounded
from host import KvDrive, Sparf
from host.packing import pack_append
from rtl.commands import Opcode, Status
from rtl.config import DriveConfig

KV_HEADS, QUERIES, HEAD_DIM, LAYERS = 2, 3, 64, 2
CONFIG = DriveConfig.preset("tiny", sparse_tokens=64)


def relative_error(got, exact):
    return ((got.double() - exact).norm(dim=1) / exact.norm(dim=1)).max().item()


def decode(lane, log, seed):
    """Append, attend and step over flash pages and tail, and sparsely; everything judged twice."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float16)

    drive = KvDrive(lane.config, backend="rtl", lane=lane)
    twin = KvDrive(lane.config, backend="twin")
    shape = {"layers": LAYERS, "kv_heads": KV_HEADS, "head_dim": HEAD_DIM, "max_tokens": 64}
    numbers = [d.open(**shape, index="channel") for d in (drive, twin)]
    k = v = np.empty((0, KV_HEADS, HEAD_DIM), np.float16)
    layer = 1
    for tokens in (21, 1, 1):
        new_k, new_v = normal(tokens, KV_HEADS, HEAD_DIM), normal(tokens, KV_HEADS, HEAD_DIM)
        k, v = np.concatenate([k, new_k]), np.concatenate([v, new_v])
        q = normal(KV_HEADS * QUERIES, HEAD_DIM)
        outs = []
        for device, number in zip((drive, twin), numbers, strict=True):
            if tokens > 1:
                device.append(number, layer, new_k, new_v)
                outs.append(device.attend(number, layer, q))
            else:
                outs.append(device.step(number, layer, q, new_k[0], new_v[0]))
        assert np.array_equal(outs[0].view(np.uint16), outs[1].view(np.uint16)), "twin differs"
        exact, ideal = attend(q, k, v), attend_rounded(q, k, v)
        error, bar = (relative_error(x, exact) for x in (torch.tensor(outs[0]), ideal))
        log.info(f"{len(k)} tokens: {error:.3e}, ideal {bar:.3e}, cycle {lane.cycle}")
        assert error <= 1.01 * bar
    q, some = normal(KV_HEADS * QUERIES, HEAD_DIM), Sparf(channels=9, kept=8, sinks=1, window=3)
    outs = [d.attend(n, layer, q, attention=some) for d, n in zip((drive, twin), numbers)]
    assert np.array_equal(outs[0].view(np.uint16), outs[1].view(np.uint16)), "twin differs"
    kept = drive.read(numbers[0], layer, 18, len(k))
    assert np.array_equal(kept[0], k[18:]) and np.array_equal(kept[1], v[18:])
    stats = drive.stats()
    assert stats["pages_read"] > 0 and abs(sum(stats["breakdown"].values()) - 1) < 1e-9
    drive.close(numbers[0])
    driver = drive.backend.driver
    assert driver.wait(driver.submit(0xC5))["status"] == Status.INVALID_OPCODE


def interrupted(lane, log, seed):
    """A reset in the middle of a command leaves a drive that works."""
    decode(lane, log, seed)
    drive = KvDrive(lane.config, backend="rtl", lane=lane)
    number = drive.open(layers=1, kv_heads=1, head_dim=HEAD_DIM, max_tokens=64)
    data = np.ones((30, 1, HEAD_DIM), np.float16)
    drive.backend.driver.submit(
        Opcode.APPEND, data=pack_append(data, data), sequence=number, layer=0, tokens=len(data)
    )
    lane.idle(1500)
    lane.reset()
    for buffer in lane.array.buffers.values():
        buffer[:] = 0
    decode(lane, log, seed + 1)


@cocotb.test()
async def decodes_before_and_after_a_reset(dut):
    lane = CocotbLane(dut, CONFIG)
    await lane.start()
    await with_timeout(bridge(interrupted)(lane, dut._log, cocotb.RANDOM_SEED), 5, "ms")
    assert lane.array.buffers["programmed"].any()

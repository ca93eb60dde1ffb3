"""Faults of the flash, as they come through the drive."""

import dataclasses

import numpy as np
import pytest

from flash_model.array import NandArray
from flash_model.array_port import ArrayOp
from flash_model.bit_errors import BitErrorRate
from flash_model.faults import Faults
from host import KvDrive
from host.errors import DriveError, DriveValueError
from host.stats import difference
from rtl.commands import Status
from rtl.config import DriveConfig
from rtl.pages.codec import decode_pages
from rtl.pages.reader import RETRY_LEVELS
from rtl.tables import PAGE_META

LAYERS, HEADS, DIM = 2, 2, 64
GROUPS = 5
FRESH = {1: 1e-3, 2: 5e-4}
"""Raw bit error rates, by channels that share a decoder."""


def faults_of(geometry, fresh):
    """So many wrong bits of every bit read, whatever its age."""
    return Faults(geometry, seed=7, rate=BitErrorRate(erases=1, fresh=fresh, worn=0, disturbed=0))


def some_faults(config):
    """4 or 5 wrong bits of a page's 4341, of which its code corrects 9; half as many of one that
    corrects 8."""
    return faults_of(config.flash.geometry, FRESH[config.decoder_channels])


@pytest.fixture(params=[1, 2], ids=["own decoders", "shared decoder"])
def either(request):
    """A drive whose channels have a decoder each, or one with a weaker code for all."""
    if request.param == 1:
        return DriveConfig.preset("tiny")
    return DriveConfig.preset("tiny", correctable_bits=8, decoder_channels=request.param)


def stored(drive, tokens, rng, sequences=1):
    """Opens sequences and fills them: [(sequence, K and V of each layer)]."""
    filled = []
    for _ in range(sequences):
        number = drive.open(layers=LAYERS, kv_heads=HEADS, head_dim=DIM, max_tokens=512)
        kv = rng.standard_normal((LAYERS, 2, tokens, HEADS, DIM)).astype(np.float16)
        for layer, (k, v) in enumerate(kv):
            drive.append(number, layer, k, v)
        filled.append((number, kv))
    return filled


def pages_of(array):
    """Channel, die and row of all that are programmed, but for the bad-block table."""
    g = array.geometry
    for page in np.flatnonzero(array.buffers["programmed"]):
        unit, row = divmod(int(page), g.rows)
        if row < (g.blocks - 1) * g.pages:
            yield *divmod(unit, g.dies), row


def wrong_bits(config, array, fresh):
    """Of all pages together, bits of the code that Python's own array reads wrong."""
    other, wrong = NandArray(array.geometry, faults=faults_of(array.geometry, fresh)), 0
    for name in ("cells", "programmed", "erase_counts"):
        other.buffers[name][:] = array.buffers[name]
    for channel, die, row in pages_of(array):
        other.serve(ArrayOp.READ, channel, die, row)
        page = array.page(channel, die, row) ^ other.register(channel, die)
        wrong += np.unpackbits(page, bitorder="little")[: config.code.bits].sum()
    return wrong


def test_few_wrong_bits_are_corrected_and_counted(either, rng):
    tokens = GROUPS * either.group_tokens(DIM)
    with KvDrive(either, faults=some_faults(either)) as drive:
        [(number, kv)] = stored(drive, tokens, rng)
        before = drive.stats()
        for layer, written in enumerate(kv):
            assert all(map(np.array_equal, drive.read(number, layer), written))
        found = difference(drive.stats(), before)
        fresh = FRESH[either.decoder_channels]
        wrong = wrong_bits(either, drive.backend.lane.array, fresh)
        pages = LAYERS * HEADS * 2 * GROUPS
        assert abs(wrong - fresh * either.code.bits * pages) < 5 * (wrong**0.5)
        assert found["bits_corrected"] == wrong
        assert 0 < found["codewords_corrected"] <= pages
        assert found["codewords_unrecovered"] == found["read_retries"] == 0
        q = rng.standard_normal((2 * HEADS, DIM)).astype(np.float16)
        with KvDrive(either, backend="twin") as twin:
            other = twin.open(layers=LAYERS, kv_heads=HEADS, head_dim=DIM)
            for layer, (k, v) in enumerate(kv):
                twin.append(other, layer, k, v)
                before = drive.stats()["bits_corrected"]
                got = drive.attend(number, layer, q)
                assert got.tobytes() == twin.attend(other, layer, q).tobytes()
                assert drive.stats()["bits_corrected"] > before


def test_preloaded_pages_are_corrected_too(either, rng):
    kv = rng.standard_normal((2, GROUPS * either.group_tokens(DIM), 1, DIM)).astype(np.float16)
    with KvDrive(either, faults=some_faults(either)) as drive:
        number = drive.open(layers=1, kv_heads=1, head_dim=DIM)
        drive.preload(number, 0, *kv)
        assert all(map(np.array_equal, drive.read(number, 0), kv))
        found = drive.stats()["bits_corrected"]
        assert (
            found
            == wrong_bits(either, drive.backend.lane.array, FRESH[either.decoder_channels])
            > 0
        )


def place_of(config, array, **wanted):
    """Of the page whose metadata say so."""
    for channel, die, row in pages_of(array):
        raw = array.page(channel, die, row)[: 8 * config.code.words]
        [meta] = decode_pages(config.code, [row], raw[None])[1]
        known = PAGE_META.unpack(meta)
        if all(known[name] == value for name, value in wanted.items()):
            return channel, die, row
    raise AssertionError(f"no page of {wanted}")


def test_many_wrong_bits_of_a_page_lose_that_page_and_nothing_else(either, rng):
    group = either.group_tokens(DIM)
    seed = rng.bit_generator.state
    with KvDrive(either) as drive:
        (first, _), (number, _) = stored(drive, GROUPS * group, rng, sequences=2)
        array = drive.backend.lane.array
        segment = drive.backend.firmware.repair.state.sequences[number].segment
        place = place_of(either, array, segment=segment, index=0, group=2, kind=0)
    g = either.flash.geometry
    rng.bit_generator.state = seed
    with KvDrive(either, faults=Faults(g, bit_flips={place: 8 * g.page_total // 16})) as drive:
        (first, others), (number, kv) = stored(drive, GROUPS * group, rng, sequences=2)
        for start, stop in ((2 * group, 3 * group), (0, GROUPS * group)):
            with pytest.raises(DriveError) as told:
                drive.read(number, 0, start, stop)
            assert told.value.status == Status.UNRECOVERED_READ
        q = rng.standard_normal((2 * HEADS, DIM)).astype(np.float16)
        with pytest.raises(DriveError) as told:
            drive.attend(number, 0, q)
        assert told.value.status == Status.UNRECOVERED_READ
        stats = drive.stats()
        assert stats["codewords_unrecovered"] == 3
        assert stats["read_retries"] == 3 * RETRY_LEVELS
        for start, stop in ((0, 2 * group), (3 * group, GROUPS * group)):
            read = drive.read(number, 0, start, stop)
            assert all(map(np.array_equal, read, kv[0, :, start:stop]))
        for sequence, layer, written in ((number, 1, kv[1]), (first, 0, others[0])):
            assert all(map(np.array_equal, drive.read(sequence, layer), written))
            with KvDrive(either, backend="twin") as twin:
                other = twin.open(layers=1, kv_heads=HEADS, head_dim=DIM)
                twin.append(other, 0, *written)
                wanted = twin.attend(other, 0, q)
            assert drive.attend(sequence, layer, q).tobytes() == wanted.tobytes()
        assert drive.stats()["codewords_unrecovered"] == 3


def test_a_rate_of_zero_leaves_everything_as_it_was(tiny, rng):
    faults = Faults(tiny.flash.geometry, rate=BitErrorRate(erases=1, fresh=0, worn=0, disturbed=0))
    with KvDrive(tiny, faults=faults) as drive:
        number = drive.open(layers=1, kv_heads=1, head_dim=DIM)
        k, v = rng.standard_normal((2, 40, 1, DIM)).astype(np.float16)
        drive.append(number, 0, k, v)
        assert all(map(np.array_equal, drive.read(number, 0), (k, v)))


@pytest.mark.parametrize("backend", ["twin", "golden"])
def test_backends_without_cells_refuse_faults(tiny, backend):
    message = f"backend '{backend}' keeps K and V in numpy arrays that cannot fail: use backend"
    with pytest.raises(DriveValueError, match=message):
        KvDrive(tiny, backend=backend, faults=some_faults(tiny))


def test_faults_of_another_geometry_or_beside_a_lane_are_refused(tiny):
    other = dataclasses.replace(tiny.flash.geometry, spare_bytes=0)
    with pytest.raises(DriveValueError, match="make them with config.flash.geometry"):
        KvDrive(tiny, faults=faults_of(other, FRESH[1]))
    with pytest.raises(DriveValueError, match="give them to the array"):
        KvDrive(tiny, faults=some_faults(tiny), lane=object())

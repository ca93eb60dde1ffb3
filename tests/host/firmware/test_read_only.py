"""A drive that runs out of good blocks: it takes no more tokens in time, and loses none it has."""

import numpy as np
import pytest

from flash_model.faults import Faults
from host import KvDrive
from host.errors import DriveError
from rtl.commands import Opcode, Status
from rtl.registers import REGISTERS
from tests.host.firmware.test_repair import DIM, HEADS, LAYERS, Contents, repair_of

TOKENS = 472
"""Four sequences of so many promise all 59 groups of preset tiny that can be promised."""


def refused(call):
    with pytest.raises(DriveError) as info:
        call()
    return info.value


def one_token(rng, *shape):
    return rng.standard_normal((*shape, HEADS, DIM)).astype(np.float16)


def append_until_refused(contents, number, step):
    """Appends layer after layer, keeping what was taken; the error."""
    drive = contents.drive
    new = contents.rng.standard_normal((LAYERS, 2, TOKENS, HEADS, DIM)).astype(np.float16)
    error = None
    for at in range(0, TOKENS, step):
        for layer in range(LAYERS):
            part = new[layer, :, at : at + step]
            if error is None:
                try:
                    drive.append(number, layer, *part)
                except DriveError as caught:
                    error = caught
    held = [drive.tokens(number, layer) for layer in range(LAYERS)]
    contents.kept[number] = [new[layer, :, : held[layer]] for layer in range(LAYERS)]
    return error


@pytest.mark.parametrize("step", [4, 8, 60, 128, 472])
def test_the_last_spare_block(tiny, rng, step):
    """Every page of 16 blocks of a channel fails: more than what can stand in for them."""
    g = tiny.flash.geometry
    weak = {(0, d, g.row(b, p)): 0 for d in range(2) for b in range(1, 9) for p in range(g.pages)}
    with KvDrive(tiny, faults=Faults(g, weak_pages=weak)) as drive:
        contents = Contents(drive, rng)
        others = [contents.open(TOKENS) for _ in range(3)]
        contents.append(others[0], 16)
        number = contents.open(TOKENS)
        error = append_until_refused(contents, number, step)
        repair = repair_of(drive)
        assert error is not None and error.status == Status.READ_ONLY and repair.crippled
        assert repair.counts["pages_lost"] == 0
        contents.check()

        # Nothing that brings tokens is taken, everything else is.
        before = drive.stats()["pages_programmed"]
        q, token = one_token(rng), one_token(rng, 2)
        assert refused(lambda: drive.append(others[0], 0, *token[:, None])).appended == 0
        jobs = [(others[0], layer, q, *token) for layer in range(LAYERS)]
        assert refused(lambda: drive.attend_batch(jobs)).status == Status.READ_ONLY
        assert drive.tokens(others[0]) == 16 and drive.stats()["pages_programmed"] == before
        assert drive.attend(others[0], 0, q).shape == q.shape
        contents.check()

        # Room is made: what is crippled gets whole blocks, and tokens are taken again.
        contents.close(number)
        assert not repair.crippled and not drive.backend.firmware.read_only
        contents.append(others[1], 40)
        contents.append(others[0], 8)
        contents.check()
        assert repair.counts["pages_lost"] == 0


@pytest.mark.parametrize("step", [4, 60])
def test_a_loss_of_power_without_spare_blocks(tiny, rng, step):
    """What lies in crippled blocks and in the refuge is found again."""
    g = tiny.flash.geometry
    rows = [g.row(block, page) for block in range(1, 9) for page in range(8, g.pages)]
    weak = {(0, die, row): 0 for die in range(2) for row in rows}
    with KvDrive(tiny, faults=Faults(g, weak_pages=weak)) as drive:
        contents = Contents(drive, rng)
        other = contents.open(TOKENS)
        contents.append(other, 17)
        drive.flush()
        for _ in range(2):
            contents.open(TOKENS)
        number = contents.open(TOKENS)
        assert append_until_refused(contents, number, step).status == Status.READ_ONLY
        drive.flush()
        assert not any(map(any, drive.power_cycle(step).values()))
        assert repair_of(drive).crippled and drive.backend.firmware.read_only
        contents.check()
        assert refused(lambda: contents.append(other, 8)).status == Status.READ_ONLY
        contents.close(number)
        assert not drive.backend.firmware.read_only
        contents.append(other, 8)
        drive.flush()
        assert not any(map(any, drive.power_cycle(step).values()))
        contents.check()


@pytest.mark.parametrize(
    "seed", [2, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 12))]
)
def test_pages_that_fail_everywhere(tiny, rng, seed):
    """Appends and closes until nothing can be taken any more; statuses are clear throughout."""
    g = tiny.flash.geometry
    faults = Faults.drawn(g, seed=seed, weak_pages=0.01, weak_programs=(0, 1), weak_blocks=0.1)
    with KvDrive(tiny, faults=faults) as drive:
        contents = Contents(drive, rng)
        statuses = set()
        for _ in range(9):
            try:
                number = contents.open(TOKENS)
            except DriveError as error:
                assert error.status in (Status.NO_SPACE, Status.TOO_MANY_SEQUENCES)
                if not contents.kept:
                    break
                statuses.add(error.status)
                contents.close(min(contents.kept))
                continue
            if error := append_until_refused(contents, number, int(rng.integers(1, 100))):
                assert error.status == Status.READ_ONLY
                statuses.add(error.status)
                contents.check()
                contents.close(min(contents.kept))
        contents.check()
        assert Status.READ_ONLY in statuses and repair_of(drive).counts["pages_lost"] == 0


def test_a_long_append_says_how_much_of_it_was_taken(tiny, rng):
    """The register set between two commands of one append: the first one's tokens stay."""
    with KvDrive(tiny) as drive:
        contents = Contents(drive, rng)
        number = contents.open(TOKENS)
        driver, lane = drive.backend.driver, drive.backend.lane
        submit, sent = driver.submit, []

        def submit_and_refuse(opcode, **fields):
            command = submit(opcode, **fields)
            sent.append(opcode)
            if len(sent) == 2:
                driver.wait(command)
                lane.csr_write(REGISTERS["READ_ONLY"].address, 1)
            return command

        driver.submit = submit_and_refuse
        new = one_token(rng, 2, 300)
        error = refused(lambda: drive.append(number, 0, *new))
        assert sent == [Opcode.APPEND] * 3 and error.status == Status.READ_ONLY
        assert error.appended == drive.tokens(number) == 256  # 64 KiB, 128 tokens a command
        lane.csr_write(REGISTERS["READ_ONLY"].address, 0)
        drive.append(number, 0, *new[:, 256:])
        assert all(map(np.array_equal, drive.read(number, 0), new))

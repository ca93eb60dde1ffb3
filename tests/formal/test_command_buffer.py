"""The command buffer: ranges come out whole and in order, whatever the consumer does."""

import pytest

from rtl.command_buffer import CommandBuffer
from tests.formal.command_buffer_contract import CommandBufferContract
from tests.formal.mutant import mutant
from tests.formal.prover import Counterexample, check

pytestmark = pytest.mark.formal


@pytest.mark.parametrize("words", [2, 16, 64, pytest.param(512, marks=pytest.mark.soak)])
def test_command_buffer(proved, words):
    contract = CommandBufferContract(CommandBuffer(words), words=words)
    proved(f"CommandBuffer, {words} words", contract)


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("queue.i.valid.eq(arriving)", "queue.i.valid.eq(ram.r_en)"),
        ("address.eq(address + 1)", "address.eq(address)"),
        ("(left != 0) & room", "(left > 1) & room"),
        ("place.eq(0)", "place.eq(1)"),
    ],
    ids=["early", "repeats a word", "leaves the last word", "starts at the wrong row"],
)
def test_faults_are_found(right, wrong):
    broken = mutant(CommandBuffer, right, wrong)(4)
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(CommandBufferContract(broken, words=4, inside=False))


def test_a_word_without_room_is_found():
    broken = mutant(CommandBuffer, "room.eq(queue.level < 6)", "room.eq(queue.level < 8)")(4)
    # What is lost inside shows at the output only after all that went before it has left.
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(CommandBufferContract(broken, words=4))

"""Energies worked out by hand, and operations counted at the array."""

import pytest

from flash_model.array import NandArray
from flash_model.array_port import ArrayOp
from flash_model.energy import Energy
from flash_model.profiles import PROFILES, profile

PART = Energy(supply_v=3.3, i_read_ma=20, i_program_ma=25, i_erase_ma=30, io_pj_per_bit=10)


def test_energy_of_an_operation():
    timing = profile("paper").timing
    assert PART.operation_nj("read", timing) == pytest.approx(3.3 * 20e-3 * 45_000)  # 2970 nJ
    assert PART.operation_nj("program", timing) == pytest.approx(37_125)
    assert PART.operation_nj("erase", timing) == pytest.approx(346_500)


def test_energy_of_a_history():
    p = profile("tiny")
    array = NandArray(p.geometry)
    for op, count in ((ArrayOp.READ, 5), (ArrayOp.READ_CACHE, 2), (ArrayOp.PROGRAM, 3)):
        for turn in range(count):
            array.serve(op, turn % 2, 0, turn)
    array.serve(ArrayOp.ERASE, 1, 1, 0)
    for op in (ArrayOp.CLEAR, ArrayOp.READ_CACHE_END, ArrayOp.FACTORY_PAGE, ArrayOp.READ_RETRY):
        array.serve(op, 0, 0, 0)
    assert array.buffers["operations"].tolist() == [[4, 2, 0], [0, 0, 0], [3, 1, 0], [0, 0, 1]]
    spent = PART.spent_j(array, p.timing, bytes_moved=1000)
    assert spent == pytest.approx(
        {
            "read": 7 * 3.3 * 20e-3 * 2e-6,
            "program": 3 * 3.3 * 25e-3 * 3e-6,
            "erase": 3.3 * 30e-3 * 5e-6,
            "bus": 8000 * 10e-12,
        }
    )


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_spend_most_on_erases(name):
    p = profile(name)
    read, program, erase = (
        p.energy.operation_nj(operation, p.timing) for operation in ("read", "program", "erase")
    )
    assert read < program < erase


def test_impossible_energies_are_refused():
    with pytest.raises(ValueError, match="i_read_ma = 0"):
        Energy(supply_v=3.3, i_read_ma=0, i_program_ma=25, i_erase_ma=30, io_pj_per_bit=10)
    with pytest.raises(ValueError, match="'write'.*read, program, erase"):
        PART.operation_nj("write", profile("tiny").timing)

"""The whole drive behind AXI4 and AXI4-Lite, as exported: what the other lanes do, bit for bit.

cocotbext-axi's master and memories are on its buses and stall them; `cosim.axi_rules` watches.
"""

import numpy as np
import pytest

from cosim.axi_top import AXI_TOP_NAME, AxiSimTop
from cosim.cocotb_runner import run
from cosim.native_build import kept_verilog
from hls_attention.verilog import to_verilog
from host import KvDrive
from tests.cosim.axi_session import play
from tests.cosim.cocotb_drive import CONFIG

SEED = 5


@pytest.fixture(scope="module")
def verilog():
    return kept_verilog(
        AXI_TOP_NAME, repr(CONFIG), lambda: to_verilog(AxiSimTop(CONFIG), AXI_TOP_NAME)
    )


@pytest.mark.parametrize(
    "part, rounds",
    [
        ("drive", 1),
        ("errors", 1),
        ("windows", 1),
        pytest.param("power", 1, marks=pytest.mark.soak),
        pytest.param("errors", 2, marks=pytest.mark.soak),
        pytest.param("windows", 20, marks=pytest.mark.soak),
    ],
)
def test_drive(verilog, part, rounds):
    module, environment = f"tests.cosim.cocotb_axi_{part}", {"AXI_ROUNDS": str(rounds)}
    assert run(module, verilog, AXI_TOP_NAME, seed=1, environment=environment) == 1


@pytest.mark.parametrize(
    "judge, calls, bursts, resets",
    [("twin", 10, 200, 1), pytest.param("rtl", 270, 10_000, 4, marks=pytest.mark.soak)],
)
def test_random_calls(verilog, tmp_path, judge, calls, bursts, resets):
    """Outputs are those of another lane; of the soak, those of the native one, bit for bit."""
    outputs = tmp_path / "outputs.npz"
    with KvDrive(CONFIG, backend=judge) as drive:
        played = play(drive, SEED, calls)
        arrays = {f"{n}_{m}": x for n, outs in enumerate(played) for m, x in enumerate(outs)}
    np.savez(outputs, **arrays)
    settings = {"SEED": SEED, "CALLS": calls, "RESETS": resets, "BURSTS": bursts}
    environment = {f"AXI_{name}": str(value) for name, value in settings.items()}
    environment["AXI_OUTPUTS"] = str(outputs)
    module = "tests.cosim.cocotb_axi_session"
    assert run(module, verilog, AXI_TOP_NAME, seed=SEED, environment=environment) == 1

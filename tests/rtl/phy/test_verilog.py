"""The PHYs as Verilog: accepted by three front ends, the same ports as the drive's."""

import pytest

from cosim.front_ends import FRONT_ENDS, findings
from flash_model.profiles import profile
from rtl.phy.verilog import PADS_TOP, sdr_phy_verilog


@pytest.fixture(scope="module")
def sdr():
    return sdr_phy_verilog(profile("mlc_cosmos_sdr"), 5, 100_000_000)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_the_sdr_phy_is_accepted(sdr, front_end):
    assert findings(front_end, sdr, PADS_TOP) == []

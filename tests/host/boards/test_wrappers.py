"""What Vivado is told of the drive's buses, against what docs/verilog.md promises of them."""

import re

from host.boards.folder import BoardFolder
from host.boards.wrappers import ip_module
from rtl.boards import BOARDS
from rtl.config import DriveConfig


def test_facts_of_buses():
    config = DriveConfig.preset("tiny", page_store="memory")
    folder = BoardFolder(BOARDS["generic"], config, preset="tiny")
    text = ip_module(folder._ports, config.clock_hz)
    said = re.findall(r'X_INTERFACE_PARAMETER = "XIL_INTERFACENAME (\w*_axi\w*), (.*?)"', text)
    facts = {bus: dict(fact.split(" ") for fact in more.split(", ")) for bus, more in said}
    managers = {"m_axi_host", "m_axi_dram", "m_axi_pages_0", "m_axi_pages_1"}
    assert set(facts) == {"s_axi", *managers} and len(said) == len(facts)
    for bus in managers:
        assert facts[bus] == {
            "PROTOCOL": "AXI4",
            "DATA_WIDTH": "64",
            "ADDR_WIDTH": "48",
            "ID_WIDTH": "1",
            "MAX_BURST_LENGTH": "256",
            "SUPPORTS_NARROW_BURST": "0",
        }
    assert facts["s_axi"] == {
        "PROTOCOL": "AXI4LITE",
        "DATA_WIDTH": "32",
        "ADDR_WIDTH": "16",
        "ID_WIDTH": "0",
        "MAX_BURST_LENGTH": "1",
        "SUPPORTS_NARROW_BURST": "0",
        "NUM_READ_OUTSTANDING": "1",
        "NUM_WRITE_OUTSTANDING": "1",
    }


def test_the_sidecar_knows_the_phy():
    board, config = BOARDS["daisyplus"], DriveConfig.preset("daisyplus")
    about = BoardFolder(board, config, preset="daisyplus")._sidecar()
    phy = about["phy"]
    assert (phy["kind"], phy["mode"], phy["primitives"]) == ("nv_ddr", 2, "ultrascaleplus")
    ports = {port["name"]: port["bits"] for port in about["tops"]["csd_top"]}
    pins = {pin["port"]: pin["pin"] for pin in phy["pins"]}
    assert pins["nand_0_ale"] == "K20" and pins["nand_0_dq[0]"] == "E20"
    assert len(pins) == len(phy["pins"]) == len(set(pins.values()))
    for name in pins:
        port, _, index = name.partition("[")
        assert int(index.rstrip("]") or 0) < ports[port]
    memory = BoardFolder(BOARDS["smartssd"], DriveConfig.preset("smartssd"), preset="smartssd")
    assert memory._sidecar()["phy"] is None

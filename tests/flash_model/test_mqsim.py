"""A configuration of MQSim as a profile, and what is told of configurations that are none."""

import pytest

from flash_model.mqsim import read_mqsim
from flash_model.parameter_page import parameter_page

PARAMETERS = {
    "Flash_Channel_Count": "8",
    "Flash_Channel_Width": "1",
    "Channel_Transfer_Rate": "333",
    "Chip_No_Per_Channel": "4",
    "Flash_Comm_Protocol": "NVDDR2",
    "Flash_Technology": "MLC",
    "Page_Read_Latency_LSB": "75000",
    "Page_Read_Latency_CSB": "1",
    "Page_Read_Latency_MSB": "95001",
    "Page_Program_Latency_LSB": "750000",
    "Page_Program_Latency_CSB": "3",
    "Page_Program_Latency_MSB": "2000000",
    "Block_Erase_Latency": "3800000",
    "Block_PE_Cycles_Limit": "10000",
    "Die_No_Per_Chip": "2",
    "Plane_No_Per_Die": "2",
    "Block_No_Per_Plane": "2048",
    "Page_No_Per_Block": "256",
    "Page_Capacity": "8192",
    "Page_Metadat_Capacity": "448",
}
DEVICE = list(PARAMETERS)[:5]


@pytest.fixture
def read(tmp_path):
    """Reads a configuration with changes; ``None`` leaves a parameter out."""

    def read(**changes):
        values = PARAMETERS | changes

        def lines(tags):
            return "\n".join(f"\t<{t}>{values[t]}</{t}>" for t in tags if values[t] is not None)

        flash = [tag for tag in values if tag not in DEVICE]
        path = tmp_path / "ssdconfig.xml"
        path.write_text(
            '<?xml version="1.0" encoding="us-ascii"?>\n<Execution_Parameter_Set>\n'
            "<Host_Parameter_Set><PCIe_Lane_Count>4</PCIe_Lane_Count></Host_Parameter_Set>\n"
            f"<Device_Parameter_Set>\n<Seed>321</Seed>\n{lines(DEVICE)}\n"
            f"<Flash_Parameter_Set>\n{lines(flash)}\n</Flash_Parameter_Set>\n"
            "</Device_Parameter_Set>\n</Execution_Parameter_Set>\n"
        )
        return read_mqsim(path)

    return read


def test_every_parameter_is_taken(read):
    p = read()
    g, t = p.geometry, p.timing
    assert (p.name, g.channels, g.dies, g.planes) == ("mqsim", 8, 8, 2)
    assert (g.blocks, g.pages, g.page_bytes, g.spare_bytes) == (4096, 256, 8192, 448)
    assert g.capacity == 8 * 4 * 2 * 2 * 2048 * 256 * 8192
    assert (t.rate_mts, t.t_r_ns, t.t_prog_ns, t.t_bers_ns) == (333, 85000, 1375000, 3800000)
    assert (p.endurance.bits_per_cell, p.endurance.erases) == (2, 10000)
    # MQSim's NV-DDR2 set
    assert (t.t_cs_ns, t.t_wc_ns, t.t_wb_ns, t.t_rr_ns, t.t_adl_ns) == (20, 25, 100, 20, 70)
    assert (t.t_rhw_ns, t.t_ccs_ns, t.t_rpre_ns, t.t_dqsre_ns) == (100, 300, 15, 15)
    simulated = {name for name, _, source in p.table() if source.startswith("simulator: MQSim")}
    assert len(simulated) == 13
    assert len(parameter_page(p)) == 256 + 48


@pytest.mark.parametrize(
    "technology,read_ns,program_ns", [("SLC", 30, 300), ("MLC", 45, 450), ("TLC", 40, 400)]
)
def test_latencies_are_the_mean_over_a_cell_s_pages(read, technology, read_ns, program_ns):
    latencies = {
        f"Page_{kind}_Latency_{level}": str(factor * ns)
        for kind, factor in (("Read", 1), ("Program", 10))
        for level, ns in (("LSB", 30), ("CSB", 30), ("MSB", 60))
    }
    t = read(Flash_Technology=technology, **latencies).timing
    assert (t.t_r_ns, t.t_prog_ns) == (read_ns, program_ns)


def test_the_metadata_may_be_spelled_in_full(read):
    p = read(Page_Metadat_Capacity=None, Page_Metadata_Capacity="512")
    assert p.geometry.spare_bytes == 512


def test_an_slc_needs_no_more_than_its_own_latencies(read):
    others = {
        f"Page_{kind}_Latency_{level}": None
        for kind in ("Read", "Program")
        for level in ("CSB", "MSB")
    }
    assert read(Flash_Technology="SLC", **others).timing.t_r_ns == 75000
    with pytest.raises(ValueError, match="lacks Page_Read_Latency_MSB, Page_Program_Latency_MSB"):
        read(**others)


@pytest.mark.parametrize("tag", [tag for tag in PARAMETERS if "CSB" not in tag])
def test_what_is_missing_is_named(read, tag):
    with pytest.raises(ValueError, match=rf"ssdconfig.xml lacks {tag}"):
        read(**{tag: None})


def test_everything_that_is_missing_is_named_at_once(read):
    with pytest.raises(ValueError, match="lacks Flash_Channel_Count, Page_Capacity$"):
        read(Page_Capacity=None, Flash_Channel_Count=None)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"Page_Capacity": "8 KiB"}, "Page_Capacity = '8 KiB' is no whole number"),
        ({"Page_Capacity": ""}, "Page_Capacity = '' is no whole number"),
        ({"Block_Erase_Latency": "-1"}, "Block_Erase_Latency = '-1'"),
        ({"Flash_Technology": "PLC"}, "'PLC' is not known: choose SLC, MLC, TLC"),
        ({"Flash_Comm_Protocol": "SDR"}, "'SDR' is not modelled: choose NVDDR2"),
        ({"Flash_Channel_Width": "2"}, "Flash_Channel_Width = '2'"),
        ({"Plane_No_Per_Die": "3"}, "no flash that can be built: planes = 3"),
        ({"Page_Capacity": "8190"}, "page_bytes = 8190"),
        ({"Page_Read_Latency_LSB": "0", "Page_Read_Latency_MSB": "0"}, "t_r_ns = 0"),
    ],
)
def test_impossible_values_are_named(read, change, message):
    with pytest.raises(ValueError, match=message):
        read(**change)


def test_other_files(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no XML")
    with pytest.raises(ValueError, match="notes.txt is no XML"):
        read_mqsim(path)
    path.write_text("<a/>")
    with pytest.raises(ValueError, match="lacks Flash_Technology, Flash_Comm_Protocol, Flash_Ch"):
        read_mqsim(path)
    with pytest.raises(FileNotFoundError):
        read_mqsim(tmp_path / "nothing.xml")

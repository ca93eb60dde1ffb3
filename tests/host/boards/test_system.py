"""Block designs of boards, made by their scripts in a model of Vivado: nets, addresses, pins."""

import json
import re
import subprocess

import pytest
from pyslang.syntax import SyntaxTree

from host.boards.bringup import software_files
from host.boards.folder import SIDECAR, BoardFolder, write_board
from host.boards.phys import choose_phy
from host.boards.system import addresses_header, system_of
from host.options import BadOption
from rtl.boards import BOARDS
from rtl.config import DriveConfig
from tests.host.boards.c_compiler import STRICT
from tests.host.boards.vivado import ScriptError, Vivado

DRIVES = {
    **{board.name: (board.name, {}, None) for board in BOARDS.values() if board.processor},
    "sdr": (
        "cosmos_plus",
        {"profile": "mlc_cosmos_sdr"},
        "sdr",
    ),
    "one die": ("daisyplus", {"channels": 1, "dies": 1}, None),
}
"""Board, what differs from its preset, PHY."""

DRIVE = {"s_axi": "Slave", "m_axi_host": "Master", "m_axi_dram": "Master"}


@pytest.fixture(scope="module", params=DRIVES)
def folder(request, tmp_path_factory):
    """A board's folder as the command writes it, but without the inside of the drive."""
    path = tmp_path_factory.mktemp("folder")
    name, changes, phy = DRIVES[request.param]
    board = BOARDS[name]
    config = DriveConfig.preset(board.preset, **changes)
    contents = BoardFolder(board, config, preset=board.preset, phy=phy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("host.boards.folder.drive_verilog", lambda *_: "")
        write_board(path, contents.files())
    return path


def build(folder, *arguments, interpreter=None, **options):
    vivado = Vivado(interpreter, **options)
    vivado.source(folder / "vivado/build.tcl", *arguments)
    return vivado


@pytest.fixture(scope="module")
def design(folder):
    """The block design that the script makes."""
    return build(folder, "design").design


def about(folder):
    return json.loads((folder / SIDECAR).read_text())


def processor(folder):
    return BOARDS[about(folder)["board"]["name"]].processor


def test_the_model_has_nothing_to_say_against_it(design):
    assert design.valid
    assert design.cells["drive"].interfaces == DRIVE


def test_the_module_is_verilog_and_says_which_clock_its_buses_have(folder):
    text = (folder / "rtl/csd_top.v").read_text()
    assert not list(SyntaxTree.fromText(text).diagnostics)
    assert list(SyntaxTree.fromText(text.replace(");", ")", 1)).diagnostics)
    (clock,) = re.findall(r'"XIL_INTERFACENAME aclk, (.*)"', text)
    assert clock == f"ASSOCIATED_BUSIF {':'.join(DRIVE)}, ASSOCIATED_RESET aresetn"
    assert "FREQ_HZ" not in text, "a module in a block design has the frequency it is given"


def test_every_bus_of_the_drive_is_connected_to_what_it_is_for(folder, design):
    ports = processor(folder)
    assert design.reached(f"ps/{ports.control}") == {"drive/s_axi"}
    assert design.reached("drive/m_axi_host") == {f"ps/{ports.host.interface}"}
    assert design.reached("drive/m_axi_dram") == {f"ps/{ports.dram.interface}"}
    assert ports.host.interface != ports.dram.interface
    connected = [name for pair in design.buses for name in pair]
    assert len(connected) == len(set(connected))


def test_one_clock_and_one_reset_for_all(folder, design):
    clocks = {
        f"{cell}/{pin}"
        for cell in design.cells
        for pin, about in design.cell(cell).pins.items()
        if about.kind == "clk"
    }
    assert design.net(f"ps/{processor(folder).clock}") == clocks
    assert design.net("reset/ext_reset_in") == {
        f"ps/{processor(folder).reset}",
        "reset/ext_reset_in",
    }
    assert "reset/peripheral_aresetn" in design.net("drive/aresetn")
    for name in ("control", "host", "dram"):
        assert "reset/interconnect_aresetn" in design.net(f"{name}/aresetn")


def test_the_clock_is_the_drives(folder, design):
    names = ("PCW_FPGA0_PERIPHERAL_FREQMHZ", "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ")
    (mhz,) = [v for n, v in design.cells["ps"].parameters.items() if n in names]
    assert float(mhz) * 1e6 == about(folder)["clocks"]["aclk"]
    build(folder, "design", hertz=99_999_001)
    for hertz in (133_000_000, 50_000_000):
        with pytest.raises(ScriptError, match=f"makes {hertz} Hz: this drive wants 66700000 to 10"):
            build(folder, "design", hertz=hertz)


def test_the_same_drive_takes_a_slower_clock(folder):
    made = build(folder, "95", "design", hertz=95_000_000).design
    assert "95" in made.cells["ps"].parameters.values()
    for mhz in ("66.6", "101"):
        with pytest.raises(ScriptError, match=f"{mhz} MHz: this drive takes 66.7 to 100; another"):
            build(folder, mhz)


def test_interrupts_reach_the_processor(folder, design):
    pins = processor(folder).interrupts
    for n, name in enumerate(("irq", "mailbox")):
        net = design.net(f"drive/{name}")
        if len(pins) == 1:
            assert f"interrupts/In{n}" in net and f"ps/{pins[0]}" in design.net("interrupts/dout")
        else:
            assert f"ps/{pins[n]}" in net


def test_software_can_see_which_phys_have_started(folder, design):
    bits = about(folder)["system"]["started"]["bits"]
    assert bits == about(folder)["configuration"]["channels"]
    for n in range(bits):
        assert design.net(f"drive/nand_{n}_started") == {
            f"drive/nand_{n}_started",
            f"started/In{n}",
        }
    assert f"ps/{processor(folder).gpio}" in design.net("started/dout")


def test_addresses_are_those_of_software_and_sidecar(folder, design, tmp_path):
    system = about(folder)["system"]
    placed = {(space, segment): (at, size) for space, segment, at, size in design.addresses}
    control = system["control"]
    assert placed.pop(("ps/Data", "drive/s_axi/reg0")) == (control["address"], control["bytes"])
    for name in ("host", "dram"):
        ((at, size),) = [place for (space, _), place in placed.items() if space.endswith(name)]
        region = system[name]
        assert at <= region["address"] and region["address"] + region["bytes"] <= at + size
        assert region["address"] % 4096 == 0
    host, dram = system["host"], system["dram"]
    assert host["address"] + host["bytes"] <= dram["address"]
    assert dram["bytes"] == about(folder)["configuration"]["dram_bytes"]
    assert dram["address"] + dram["bytes"] <= 1 << 32, "DRAM_AT of board.c is below 4 GiB"
    lines = {
        "BASE": control["address"],
        "HOST": host["address"],
        "HOST_BYTES": host["bytes"],
        "DRAM": dram["address"],
        "DRAM_BYTES": dram["bytes"],
        "STARTED": system["started"]["address"],
        "STARTED_ALL": (1 << system["started"]["bits"]) - 1,
    }
    program = '#include "addresses.h"\n#include "bringup.h"\n#include <stdio.h>\nint main(void) {\n'
    program += "".join(f'printf("%lu\\n", (unsigned long)INSTINFER_{name});\n' for name in lines)
    program += (
        "return BRINGUP_HOST_BYTES > INSTINFER_HOST_BYTES || "
        "BRINGUP_DRAM_BYTES > INSTINFER_DRAM_BYTES;\n}\n"
    )
    (tmp_path / "places.c").write_text(program)
    include = f"-I{folder / 'software'}"
    command = ["gcc", "-std=c99", *STRICT, include, "places.c", "-o", "places"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "places"], check=True, capture_output=True, text=True)
    assert [int(line) for line in done.stdout.split()] == list(lines.values())


def test_every_port_has_a_pin_or_is_marked(folder, design):
    """But those that leave by the processor's own pins, and legs whose pair's other leg has one."""
    ports = processor(folder)
    assert set(design.external) == {name for name, _ in ports.external}
    bits = {
        f"{name}[{n}]" if pin.bits > 1 else name
        for name, pin in design.ports.items()
        for n in range(pin.bits)
    }
    text = (folder / "constraints/pins.xdc").read_text()
    placed = re.findall(r"^(# )?set_property -dict .*PACKAGE_PIN (\S+) .*\{(\S+)\}\]$", text, re.M)
    names = {name for _, _, name in placed}
    assert len(names) == len(placed)
    other = {"_p": "_n", "_n": "_p"}
    assert all(name[:-2] + other[name[-2:]] in names for name in bits - names) and names <= bits
    assert all((pin == "???") == bool(comment) for comment, pin, _ in placed)
    for name in bits:
        cell = f"drive/{name.partition('[')[0]}"
        assert cell in design.net(name.partition("[")[0])


def test_constraints_name_ports_of_the_design(folder, design):
    vivado = build(folder, "design")
    constraints = [path for path in vivado.files() if path.suffix == ".xdc"]
    assert {path.name for path in constraints} == {"nand.xdc", "pins.xdc", "pin_timing.xdc"}
    read = Vivado()
    for path in constraints:
        read.source(path)
    named = [name for a in read.arguments("get_ports") for name in read.split(a[0])]
    for name in named:
        pattern = re.escape(name.partition("[")[0]).replace(r"\*", ".*")
        assert any(re.fullmatch(pattern, port) for port in design.ports), name
    assert not read.arguments("create_clock"), "the processing system makes the clock"


def test_the_ddr_is_as_large_as_its_chips(folder, design):
    """Rows, columns and banks of the settings, and that many chips, by no table of ours."""
    ps, board = design.cells["ps"].parameters, about(folder)["board"]["name"]
    for variant in processor(folder).variants or [""]:
        if variant:
            ps = build(folder, "design", variant).design.cells["ps"].parameters
        part = {re.sub(r".*_DDRC?_+", "", name): value for name, value in ps.items()}
        address = sum(int(part[f"{n}_ADDR_COUNT"]) for n in ("ROW", "COL", "BANK"))
        width = int(part["DRAM_WIDTH"].split()[0])
        assert (1 << address) * width == int(part["DEVICE_CAPACITY"].split()[0]) << 20
        chips = int(part["BUS_WIDTH"].split()[0]) // width << int(part.get("RANK_ADDR_COUNT", 0))
        assert (1 << address) * width * chips // 8 == BOARDS[board].processor.ddr_bytes


def test_both_interpreters_make_the_same(folder):
    tkinter = pytest.importorskip("tkinter", reason="this Python was built without Tcl")
    ours, theirs = (build(folder, "design", interpreter=i) for i in (None, tkinter.Tcl()))
    assert ours.calls == theirs.calls and len(ours.calls) > 100


def run_results(folder, **slack):
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run/system_wrapper.bit").write_text("bits")
    return {"DIRECTORY": str(folder / "run"), **slack}


def test_from_the_folder_to_a_bitstream(folder, capsys):
    vivado = build(folder, run=run_results(folder))
    known = about(folder)
    assert vivado.arguments("create_project")[0][2:4] == ("-part", known["board"]["part"])
    assert all(path.is_file() for path in vivado.files())
    steps = [call[0] for call in vivado.calls]
    order = ["validate_bd_design", "generate_target", "make_wrapper", "launch_runs", "open_run"]
    order += ["report_utilization", "report_timing_summary", "write_hw_platform"]
    assert [name for name in steps if name in order] == order
    assert ("set_property", "top", "system_wrapper", "current_fileset") in vivado.calls
    assert (folder / "vivado/out/instinfer.bit").read_text() == "bits"
    assert "timing met at 100.000000 MHz: worst slack 0.1 ns" in capsys.readouterr().out


@pytest.mark.parametrize("slack", [{"STATS.WNS": "-0.314"}, {"STATS.WHS": "-0.01"}])
def test_a_clock_that_is_missed_gives_no_bitstream(folder, slack):
    (folder / "vivado/out/instinfer.bit").unlink(missing_ok=True)
    with pytest.raises(
        ScriptError, match="TIMING MISSED at .*: worst slack .* a slower clock, -tclargs MHZ"
    ):
        build(folder, run=run_results(folder, **slack))
    assert not (folder / "vivado/out/instinfer.bit").exists()


def test_a_run_that_fails_and_words_that_mean_nothing(folder):
    with pytest.raises(ScriptError, match="no bitstream: route_design ERROR"):
        build(folder, run={"PROGRESS": "70%", "STATUS": "route_design ERROR"})
    with pytest.raises(ScriptError, match="unknown argument C"):
        build(folder, "C")


BROKEN = [
    (r"connect_bd_intf_net \[get_bd_intf_pins drive/m_axi_dram\].*\n", "", "m_axi_dram"),
    (r"m_axi_dram\] \[get_bd_intf_pins", "s_axi] [get_bd_intf_pins", "s_axi"),
    (r" \\\n    \[get_bd_pins dram/aclk\]", "", "dram/aclk is not driven"),
    (r"\[get_bd_pins drive/aresetn\]", "[get_bd_pins drive/resetn]", "no pin drive/resetn"),
    (r"reset/ext_reset_in", "reset/reset_in", "no pin reset/reset_in"),
    (r"connect_bd_net \[get_bd_pins drive/irq\].*\n", "", "In0|irq0"),
    (r"(IO )7 (nand_0_dq\n)", r"\g<1>6 \2", "different widths"),
    (r"I ( \d nand_0_rb_n)", r"O \1", "driven by"),
    (r"-offset 0x(43C|A00)", "-offset 0x200", "outside of ps/Data's window"),
    (r"(-range 0x)00010000", r"\g<1>00020000", "drive/s_axi/reg0 is 0x10000 bytes"),
    (r"(S_AXI_GP3|S_AXI_HP2) \{1\}", r"\1 {0}", "no pin ps/"),
    (r"spaces drive/m_axi_dram\]", "spaces drive/m_axi_host]", "not reach"),
    (r"-reference csd_top", "-reference csd", "no module csd"),
    (r"xilinx.com:ip:smartconnect", "xilinx.com:ip:smart_connect", "no IP"),
]  # fmt: skip


@pytest.mark.parametrize("wrong, instead, said", BROKEN)
def test_the_model_notices_what_is_wrong(folder, tmp_path, wrong, instead, said):
    for part in ("rtl", "constraints", "vivado"):
        (tmp_path / part).symlink_to(folder / part)
    (tmp_path / "vivado").unlink()
    (tmp_path / "vivado").mkdir()
    for path in (folder / "vivado").glob("*.tcl"):
        (tmp_path / "vivado" / path.name).write_text(path.read_text())
    system = tmp_path / "vivado/system.tcl"
    text, found = re.subn(wrong, instead, system.read_text())
    assert found
    system.write_text(text)
    with pytest.raises(ScriptError, match=said):
        build(tmp_path, "design")


def test_drives_that_a_block_design_has_no_room_for():
    board, config = BOARDS["cosmos_plus"], DriveConfig.preset("cosmos_plus", dram_bytes=800 << 20)
    with pytest.raises(
        BadOption, match=r"dram_bytes = 838860800: .* choose --set dram_bytes=73819"
    ):
        BoardFolder(board, config, preset="cosmos_plus")


@pytest.mark.parametrize(
    "board, preset, phy, there",
    [
        ("cosmos_plus", "cosmos_plus", None, True),
        ("cosmos_plus", "cosmos_plus", "none", False),
        ("daisyplus", "smartssd", None, False),
        ("smartssd", "smartssd", None, False),
        ("generic", "tiny", None, False),
    ],
)
def test_who_has_a_block_design(board, preset, phy, there):
    board, config = BOARDS[board], DriveConfig.preset(preset)
    system = system_of(board, config, choose_phy(board, config, phy))
    assert bool(system) == there
    assert ("define INSTINFER_BASE" in addresses_header(system)) == there


@pytest.fixture
def board_program(tmp_path):
    """board.c with a bring-up that says that it was there, by the GPIO inputs it is run with."""
    files = software_files(DriveConfig.preset("tiny"))
    for name in ("board.c", "bringup.h", "drive.h", "instinfer.h"):
        (tmp_path / name).write_text(files[name])
    (tmp_path / "addresses.h").write_text(
        "#include <stdint.h>\nextern uint32_t inputs, memory[];\n"
        "#define INSTINFER_BASE &memory\n#define INSTINFER_HOST &memory\n"
        "#define INSTINFER_DRAM &memory\n#define INSTINFER_HOST_AT 0\n#define INSTINFER_DRAM_AT 0\n"
        "#define INSTINFER_STARTED &inputs\n#define INSTINFER_STARTED_ALL 0xFu\n"
    )
    (tmp_path / "rest.c").write_text(
        '#include <stdio.h>\n#include "bringup.h"\nuint32_t inputs = INPUTS, memory[4];\n'
        "void Xil_DCacheDisable(void);\n"
        'void Xil_DCacheDisable(void) { puts("caches off"); }\n'
        "int instinfer_bringup(struct instinfer_memory host, struct instinfer_memory dram)\n"
        '{ (void)host; (void)dram; puts("tried"); return 0; }\n'
    )

    def run(inputs):
        options = [f"-DINPUTS={inputs}u", "-DINSTINFER_PATIENCE=1000u"]
        command = ["gcc", "-std=c99", *STRICT, *options, "board.c", "rest.c", "-o", "board"]
        subprocess.run(command, cwd=tmp_path, check=True)
        done = subprocess.run([tmp_path / "board"], capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines()

    return run


def test_the_board_file_waits_for_phys(board_program):
    assert board_program(15) == (0, ["tried"])
    assert board_program(0xFF) == (0, ["tried"])
    code, lines = board_program(5)
    assert code == 1
    assert lines == [f"FAIL  channel {n}: its PHY does not start" for n in (1, 3)]


def test_caches_are_off_with_amds_library(board_program, tmp_path):
    (tmp_path / "xil_cache.h").write_text("void Xil_DCacheDisable(void);\n")
    assert board_program(15) == (0, ["caches off", "tried"])

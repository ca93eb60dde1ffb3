"""Folders of boards: what is in them agrees with the Verilog in them, and what is refused."""

import json
import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import pytest

from host.boards.folder import SIDECAR, BoardFolder, write_board
from host.boards.ours import sha256
from host.boards.phys import choose_phy
from host.boards.wrappers import IP_TOP, PIN_TOP
from host.cli import main
from host.options import BadOption, drive_config
from rtl.boards import BOARDS
from rtl.config import PRESETS, DriveConfig
from tests.host.boards.vivado import ScriptError, Vivado

SPIRIT = "{http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009}"


@pytest.fixture(scope="module", params=BOARDS)
def folder(request, tmp_path_factory):
    """A board's folder as the command writes it, with the preset of the board or a small drive."""
    path = tmp_path_factory.mktemp(request.param)
    board = BOARDS[request.param]
    preset = "tiny" if board.name == "generic" else board.preset
    config = DriveConfig.preset(preset)
    write_board(path, BoardFolder(board, config, preset=preset).files())
    return path


def about(folder):
    return json.loads((folder / SIDECAR).read_text())


def header(text, module):
    """Ports of a module in Verilog: name -> (direction, bits)."""
    start = re.search(rf"^module {module}\s*\(", text, re.M).start()
    ports = re.findall(
        r"^\s*(input|output|inout) +(?:wire|reg)? *(?:\[(\d+):0\] *)?(\w+)[,;]?$",
        text[start : text.index("endmodule", start)],
        re.M,
    )
    return {name: (way, int(top or 0) + 1) for way, top, name in ports}


def test_the_sidecar_knows_every_file_and_port(folder):
    known = about(folder)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == {SIDECAR, *known["files"]}
    for name, digest in known["files"].items():
        assert sha256((folder / name).read_text()) == digest
    text = "".join(path.read_text() for path in sorted((folder / "rtl").iterdir()))
    for top, ports in known["tops"].items():
        assert {p["name"]: (p["direction"], p["bits"]) for p in ports} == header(text, top)
    assert {register["name"] for register in known["registers"]} >= {"ID", "SQ_TAIL"}


def test_modules_have_plain_names_and_are_written_once(folder):
    text = "".join(path.read_text() for path in sorted((folder / "rtl").iterdir()))
    names = re.findall(r"^module (\S+?) ?\(", text, re.M)
    assert len(names) == len(set(names))
    assert {"drive", "axi_drive", "flash_channel", IP_TOP} <= set(names)
    assert "\\" not in text, "a name that needs escaping"


def test_no_text_knows_this_machine(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert str(folder) not in text and str(path.home()) not in text
            assert "???" not in text or path.suffix in (".xdc", ".v")


def test_the_readme_lists_every_file(folder):
    text = (folder / "README.md").read_text()
    for name in [*about(folder)["files"], SIDECAR]:
        assert f"| `{name}` |" in text
    assert "What now?" in text and "What is not tested" in text


def test_registers_that_the_readme_names_are_there(folder):
    named = re.findall(r"`(\w+_(?:LO|HI|STATUS))`", (folder / "README.md").read_text())
    assert set(named) <= {register["name"] for register in about(folder)["registers"]}
    assert named or about(folder)["board"]["name"] != "smartssd"


def test_the_interface_of_a_phy_is_well_formed_and_complete(folder):
    path = folder / "vivado/interfaces/nand_phy_rtl.xml"
    ports = {p["name"]: p for p in about(folder)["tops"]["axi_drive"]}
    signals = {n.replace("__0__", "__"): n for n in ports if re.match("(phy|report)__0__", n)}
    signals = {name.removeprefix("phy__").replace("__", "_"): n for name, n in signals.items()}
    if not signals:
        assert not path.exists()
        return
    found = {}
    for port in ElementTree.parse(path).iter(f"{SPIRIT}port"):
        name = port.find(f"{SPIRIT}logicalName").text.lower()
        master = port.find(f"{SPIRIT}wire/{SPIRIT}onMaster")
        slave = port.find(f"{SPIRIT}wire/{SPIRIT}onSlave")
        found[name] = (master.find(f"{SPIRIT}direction").text, master.find(f"{SPIRIT}width").text)
        assert slave.find(f"{SPIRIT}direction").text == {"in": "out", "out": "in"}[found[name][0]]
        optional = name in ("report_die", "report_state")
        assert slave.find(f"{SPIRIT}presence").text == ("optional" if optional else "required")
    assert found == {
        name: (ports[port]["direction"][:-3], str(ports[port]["bits"]))
        for name, port in signals.items()
    }
    ElementTree.parse(folder / "vivado/interfaces/nand_phy.xml")


def test_the_scripts_name_what_is_there(folder):
    known = about(folder)
    board = BOARDS[known["board"]["name"]]
    part = [] if board.part else ["xc7z045ffg900-2"]
    project = Vivado()
    project.source(folder / "vivado/project.tcl", *part, "run")
    assert project.arguments("create_project")[0][2:4] == (
        "-part",
        board.part.vivado if board.part else part[0],
    )
    top = next(a[1] for a in project.arguments("set_property") if a[0] == "top")
    assert top in known["tops"] or top == IP_TOP
    options = [a for a in project.arguments("set_property") if "-mode out_of_context" in a]
    assert [a[0] for a in options] == ["-name"], "a value that begins with - must be named"
    package = Vivado()
    package.source(folder / "vivado/package_ip.tcl")
    for vivado in (project, package):
        added = [p for a in vivado.arguments("add_files") for p in vivado.split(a[-1])]
        assert added and all((folder / path).is_file() for path in added)
    assert ("ipx::save_core", "ipx::current_core") in package.calls
    looked_for = {a[0] for a in package.arguments("ipx::get_bus_interfaces")}
    text = (folder / "rtl/instinfer_csd.v").read_text()
    inferred = set(re.findall(r'X_INTERFACE_INFO = "\S+:(?:aximm|nand_phy):1\.0 (\w+) ', text))
    assert looked_for == inferred and {"s_axi", "m_axi_host", "m_axi_dram"} <= inferred


def test_without_a_part_the_script_says_so(tmp_path):
    files = BoardFolder(BOARDS["generic"], DriveConfig.preset("tiny"), preset="tiny").files()
    (tmp_path / "project.tcl").write_text(files["vivado/project.tcl"])
    vivado = Vivado()
    with pytest.raises(ScriptError, match="name the FPGA"):
        vivado.source(tmp_path / "project.tcl")
    assert not vivado.arguments("create_project")


def test_the_constraints_name_ports_that_are_there(folder):
    known = about(folder)
    ports = {p["name"]: p["bits"] for p in known["tops"].get(PIN_TOP, known["tops"]["axi_drive"])}
    vivado = Vivado()
    for path in sorted((folder / "constraints").iterdir()):
        vivado.source(path)
    clock = vivado.arguments("create_clock")[0]
    assert float(clock[clock.index("-period") + 1]) == pytest.approx(
        1e9 / known["clocks"]["aclk"], abs=1e-3
    )
    named = [p for a in vivado.arguments("get_ports") for p in vivado.split(a[0])]
    assert "aclk" in named
    for name in named:
        if "*" in name:
            pattern = re.escape(name).replace(r"\*", ".*")
            assert any(re.fullmatch(pattern, port) for port in ports)
            continue
        port, _, index = name.partition("[")
        assert port in ports and int(index.rstrip("]") or 0) < ports[port]
    pins = [a for a in vivado.arguments("set_property") if a[0] == "-dict"]
    placed = [a for a in pins if "PACKAGE_PIN" in a[1]]
    if known["board"]["name"] == "cosmos_plus":
        pads = {name: bits for name, bits in ports.items() if "nand_" in name}
        own = [n for n in pads if n.endswith(("_offset", "_started"))]
        assert len(placed) == sum(pads[n] for n in pads if n not in own) == 256
    named = [dict(zip(*[iter(vivado.split(a[1]))] * 2))["PACKAGE_PIN"] for a in placed]
    assert len(named) == len(set(named))


def test_the_same_bytes_again():
    """In one process; another one, of another folder: test_verilog_hashes."""
    boards = BOARDS["generic"], DriveConfig.preset("tiny")
    first, second = (BoardFolder(*boards, preset="tiny").files() for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--board", "no_such"], "unknown board 'no_such': choose one of cosmos_plus, daisyplus"),
        (["--preset", "no_such"], "unknown preset 'no_such': choose one of default"),
        (["--board", "cosmos_plus", "--preset", "default"], "121,602 too many. Turn down: --set"),
        (["--board", "daisyplus", "--preset", "cosmos_plus"], "choose --set channels=4"),
        (["--board", "cosmos_plus", "--set", "dies=16"], "choose --set dies=8 or fewer"),
        (["--set", "channels=3"], "channels = 3 is not possible: choose 1, 2, 4, 8 or 16"),
        (["--set", "no_field=3"], "unknown field; choose one of"),
        (["--set", "channels"], "write FIELD=VALUE"),
    ],
)
def test_what_is_refused(arguments, said, tmp_path, capsys):
    assert main(["verilog", *arguments, "--output", str(tmp_path / "v")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "v").exists()


def test_a_folder_of_somebody_else_and_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("theirs")
    for output in (tmp_path, tmp_path / "file"):
        assert main(["verilog", "--preset", "tiny", "--output", str(output)]) == 2
        assert "choose another folder with --output" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "board, preset, phy, fields",
    [
        ("cosmos_plus", "default", None, {"dies", "profile", "correctable_bits"}),
        ("cosmos_plus", "cosmos_plus", "sdr", {"profile"}),
        ("daisyplus", "paper", None, {"channels", "dies", "profile"}),
    ],
)
def test_all_that_is_needed_is_said_at_once(board, preset, phy, fields):
    """What the refusal says is followed, and is enough."""
    asked = {"preset": preset, "phy": phy}
    with pytest.raises(BadOption) as refused:
        BoardFolder(BOARDS[board], DriveConfig.preset(preset), **asked)
    said = str(refused.value).split("all of it: ")[-1].partition(" ")[2]
    said = re.findall(r"(?:--set |^)(\w+)=(\w+)", "--set " + said.removeprefix("--set "))
    if len(fields) == 1:
        said = re.findall(r"--set (profile)=(\w+)", str(refused.value))[:1]
    changes = [f"{field}={value}" for field, value in said]
    assert {field for field, _ in said} >= fields
    config = drive_config(SimpleNamespace(preset=preset, set=changes))
    BoardFolder(BOARDS[board], config, changes=changes, **asked)


def test_another_boards_folder_stays_and_what_goes_is_named(tmp_path, capsys):
    tiny = ["verilog", "--preset", "tiny", "--output", str(tmp_path)]
    assert main(tiny) == 0
    assert "removed" not in capsys.readouterr().out
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert main(["verilog", "--board", "smartssd", "--output", str(tmp_path)]) == 2
    assert "is the folder of board 'generic'" in capsys.readouterr().err
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
    assert main([*tiny, "--set", "page_store=memory"]) == 0
    said = next(line for line in capsys.readouterr().out.splitlines() if "removed" in line)
    assert "vivado/interfaces/nand_phy.xml, vivado/interfaces/nand_phy_rtl.xml" in said
    assert not (tmp_path / "vivado/interfaces").exists()


def test_every_board_has_its_preset():
    assert {board.preset for board in BOARDS.values()} <= set(PRESETS)


@pytest.mark.parametrize(
    "profile, clock, title",
    [
        ("mlc_cosmos_sdr", 250_000_000, "asynchronous SDR, timing mode 5"),
        ("mlc_cosmos_nv_ddr50", 50_000_000, "NV-DDR, timing mode 1"),
        ("mlc_cosmos_nv_ddr", 100_000_000, "NV-DDR, timing mode 2"),
        ("mlc_cosmos_nv_ddr200", 200_000_000, "NV-DDR, timing mode 5"),
    ],
)
def test_profiles_that_are_meant_for_a_phy_get_it(profile, clock, title):
    config = DriveConfig.preset("cosmos_plus", profile=profile, clock_hz=clock)
    kind = "sdr" if "SDR" in title else None
    phy = choose_phy(BOARDS["cosmos_plus"], config, kind)
    assert phy.title == title
    names = [pin.name for pins in phy.pins.values() for pin in pins]
    assert {"re_p", "re_n", "we_n", "dq", "rb_n"} <= set(names)
    assert len(names) == len(set(names))


def test_flash_too_fast_for_a_phy_is_refused_by_name():
    config = DriveConfig.preset("cosmos_plus", profile="mlc_cosmos_nv_ddr200")
    with pytest.raises(BadOption, match="no NV-DDR PHY keeps up with it at 100 MHz.*--phy none"):
        choose_phy(BOARDS["cosmos_plus"], config)
    with pytest.raises(BadOption, match="--phy usb: unknown PHY; choose sdr, nv_ddr, none"):
        choose_phy(BOARDS["cosmos_plus"], config, "usb")
    assert choose_phy(BOARDS["cosmos_plus"], config, "none") is None
    in_memory = DriveConfig.preset("smartssd")
    with pytest.raises(BadOption, match="--phy sdr: with page_store = memory there are no NAND"):
        choose_phy(BOARDS["generic"], in_memory, "sdr")
    with pytest.raises(BadOption, match="has no NAND pins; choose --preset smartssd"):
        choose_phy(BOARDS["smartssd"], config)

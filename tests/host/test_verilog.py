"""``instinfer verilog``: what the files hold, and what is said where they cannot be written."""

import json
import re

from host.cli import main
from host.verilog import register_map
from rtl.config import DriveConfig
from rtl.registers import REGISTERS


def test_files_of_the_tiny_drive(tmp_path, capsys):
    assert main(["verilog", "--preset", "tiny", "--output", str(tmp_path / "v")]) == 0
    text = (tmp_path / "v/drive.v").read_text()
    modules = re.findall(r"^module (\S+?)\(?$|^module (\w+)", text, re.M)
    names = [a or b for a, b in modules]
    assert names.count("drive") == 1
    assert len(names) == len(set(names)), "a module is written twice"
    assert names.count("flash_channel") == 1
    assert "src =" not in text, "paths of this computer in the Verilog"
    assert "\\" not in text, "a name that needs escaping"
    assert "  drive_engine engine (" in text and "  flash_channel channel_1 (" in text
    about = json.loads((tmp_path / "v/drive.json").read_text())
    assert about["configuration"]["profile"] == "tiny"
    for top, ports in (("drive", about["ports"]), ("axi_drive", about["axi"]["ports"])):
        header = text[text.index(f"module {top}(") :]
        header = header[: header.index(";")]
        assert {port["name"] for port in ports} <= set(re.findall(r"\w+", header))
    assert "drive.v" in capsys.readouterr().out


def test_an_unknown_preset_and_an_unwritable_folder(tmp_path, capsys):
    assert main(["verilog", "--preset", "no_such"]) == 2
    assert "unknown preset 'no_such'" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["verilog", "--preset", "tiny", "--output", str(tmp_path / "file")]) == 2
    assert "choose another folder" in capsys.readouterr().err


def test_register_map_lists_every_address_once():
    rows = register_map(DriveConfig.preset("tiny")).splitlines()
    addresses = [int(row.split("h")[0], 16) for row in rows]
    assert addresses == sorted(set(addresses))
    assert {r.address for r in REGISTERS.values()} <= set(addresses)
    assert any(f"{REGISTERS['SQ_TAIL'].address:04x}h  wo  SQ_TAIL" in row for row in rows)

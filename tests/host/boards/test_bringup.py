"""The bring-up test in C, compiled by gcc, on the simulated drive: it passes, and it can fail."""

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest

from cosim.device import simulated_drive
from cosim.environment import HOST_BASE
from flash_model.faults import Faults
from host.boards.bringup import golden_vectors, software_files
from host.boards.header import c_header
from rtl.boards import BOARDS
from rtl.config import DriveConfig
from rtl.nand.operations import Cause, NandOp
from rtl.registers import DRIVE_ID, REGISTERS
from tests.host.boards.c_compiler import STRICT, skip_unless_known
from tests.host.missing_die import MissingDie

PAUSE = 250
"""Clocks of `instinfer_pause`."""

STREAMS = {"die_parts": 2, "append_streams": 4}
"""Of drives that other tests have compiled, too."""

READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32)
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32)
CALL = ctypes.CFUNCTYPE(None)
PUT = ctypes.CFUNCTYPE(None, ctypes.c_char)

BOARD = """
#include "bringup.h"
uint32_t (*board_read)(uint32_t);
void (*board_write)(uint32_t, uint32_t);
void (*board_pause)(void);
void (*board_put)(char);
uint32_t instinfer_read32(uint32_t address) { return board_read(address); }
void instinfer_write32(uint32_t address, uint32_t value) { board_write(address, value); }
void instinfer_sync(void) {}
void instinfer_pause(void) { board_pause(); }
void instinfer_put(char character) { board_put(character); }
"""
"""A board.c whose functions are the test's."""


class Memory(ctypes.Structure):
    _fields_ = [
        ("words", ctypes.c_void_p),
        ("address", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
    ]


@pytest.fixture(scope="module")
def config():
    return DriveConfig.preset("tiny")


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    """The files as a board's folder has them."""
    folder = tmp_path_factory.mktemp("bringup")
    for name, text in {**software_files(config), "simulated.c": BOARD}.items():
        (folder / name).write_text(text)
    return folder


def library(folder, *, header=None, golden=None, defines=()):
    """The test as a shared library, with other files in place of those that are given."""
    own = folder / f"library-{len(list(folder.iterdir()))}"
    shutil.copytree(folder, own, ignore=shutil.ignore_patterns("library-*"))
    for name, text in (("instinfer.h", header), ("golden.h", golden)):
        if text is not None:
            (own / name).write_text(text)
    options = (
        "-std=c99",
        *STRICT,
        "-O1",
        "-shared",
        "-fPIC",
        "-DINSTINFER_PATIENCE=2000u",
        *defines,
    )
    sources = ("bringup.c", "drive.c", "simulated.c")
    subprocess.run(["gcc", *options, *sources, "-o", "bringup.so"], cwd=own, check=True)
    return ctypes.CDLL(own / "bringup.so")


def bring_up(
    config,
    code,
    *,
    read=None,
    seen=None,
    pause=PAUSE,
    dram_at=0,
    host_at=0,
    host_bytes=None,
    **options,
):
    """Failed steps and the report's lines.

    ``read`` may change what a register reads, ``seen`` sees what is written; the test's memories
    begin at ``dram_at`` and ``host_at`` of the drive's.
    """
    with simulated_drive(config, host_bytes=4 << 20, **options) as lane:
        text = []

        def read32(address):
            value = lane.csr_read(address)
            return value if read is None else read(address, value)

        def write32(address, value):
            lane.csr_write(address, value)
            if seen is not None:
                seen(address, value)

        calls = {
            "board_read": READ(read32),
            "board_write": WRITE(write32),
            "board_pause": CALL(lambda: lane.idle(pause)),
            "board_put": PUT(lambda character: text.append(character.decode())),
        }
        for name, call in calls.items():
            ctypes.c_void_p.in_dll(code, name).value = ctypes.cast(call, ctypes.c_void_p).value
        host, dram = (
            Memory(memory.ctypes.data + at, base + at, memory.nbytes - at)
            for memory, base, at in ((lane.host, HOST_BASE, host_at), (lane.dram, 0, dram_at))
        )
        if host_bytes is not None:
            host.bytes = host_bytes
        before = lane.array.buffers["cells"].copy()
        failed = code.instinfer_bringup(host, dram)
        assert np.array_equal(lane.array.buffers["cells"], before), "not erased as it was found"
        return failed, "".join(text).splitlines()


def verdict(config, code, **options):
    """Failed steps, and what the lines of steps that failed say."""
    failed, lines = bring_up(config, code, **options)
    wrong = [line[6:] for line in lines if line.startswith("FAIL  ")]
    assert len(wrong) == failed and lines[-1] == ("FAILED" if failed else "PASSED")
    return failed, "\n".join(wrong)


@pytest.fixture(scope="module")
def code(folder):
    return library(folder)


def test_it_passes_on_the_simulated_drive(config, code):
    failed, lines = bring_up(config, code)
    assert failed == 0 and lines[-1] == "PASSED"
    for line in (
        "PASS  register ID reads 54534e49h",
        "PASS  channel 1 die 1: reset, READ ID: cause 0000h, ID 2c 84 64 3c a9 04, ONFI",
        "PASS  channel 1 die 1: block 4 erased, programmed, read: "
        "cause 0000h, 0 of 4352 bits differ",
        "PASS  APPEND of 11 tokens: status 0000h, 4 pages programmed, of 0 it failed",
        "PASS  ATTEND: status 0000h, 4 pages read",
        "PASS  0 of 128 elements are not those of the bit-exact model",
        "PASS  4 of 4 blocks erased again",
    ):
        assert line in lines
    assert len(lines) == 3 + 2 * config.channels * config.dies + 5 + 1


def test_more_groups_on_a_drive_of_several_streams_elsewhere_in_memory(folder):
    """Data of more than two pages, so with a list; no memory begins at 0."""
    config = DriveConfig.preset("tiny", **STREAMS)
    code = library(folder, header=c_header(config), golden=golden_vectors(config, groups=11))
    assert verdict(config, code, dram_at=0x12000, host_at=0x5000) == (0, "")


def test_a_drive_with_pages_in_a_memory(folder):
    config = DriveConfig.preset("tiny", **STREAMS, page_store="memory", page_base=0x40_0000_1000)
    place = (f"-DINSTINFER_PAGES_AT={config.page_base:#x}",)
    code, bases = library(folder, header=c_header(config), defines=place), {}

    def seen(address, value):
        for name in ("PAGE_BASE_LO", "PAGE_BASE_HI"):
            if address == REGISTERS[name].address:
                bases[name] = value

    failed, lines = bring_up(config, code, seen=seen)
    assert failed == 0 and sum("READ ID: cause 0009h, it has none" in line for line in lines) == 4
    assert bases == {"PAGE_BASE_LO": 0x1000, "PAGE_BASE_HI": 0x40}


def test_where_pages_are_in_a_memory_has_to_be_said(folder, tmp_path):
    config = DriveConfig.preset("tiny", page_store="memory")
    (tmp_path / "instinfer.h").write_text(c_header(config))
    for name in ("drive.c", "drive.h"):
        shutil.copy(folder / name, tmp_path)
    command = ["gcc", "-std=c99", *STRICT, "-c", "drive.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and "say where the pages are" in done.stderr
    subprocess.run([*command, "-DINSTINFER_PAGES_AT=0x80000000"], cwd=tmp_path, check=True)


@pytest.mark.soak
def test_it_passes_on_the_default_drive(folder):
    """8 channels of 16 dies, each tried; a group of tokens on each channel."""
    config = DriveConfig.preset("default")
    files = software_files(config)
    code = library(folder, header=files["instinfer.h"], golden=files["golden.h"])
    failed, lines = bring_up(config, code, pause=10_000)
    print("\n".join(lines))
    assert failed == 0 and sum("ONFI" in line for line in lines) == 128
    assert "PASS  ATTEND: status 0000h, 16 pages read" in lines


def altered(text, array):
    """Golden vectors with one bit of an array's first word changed, that of the first sign."""
    head, tail = text.split(f"{array}[GOLDEN_", 1)
    at = tail.index("0x")
    word = int(tail[at : at + 18], 16) ^ 1 << 15
    return f"{head}{array}[GOLDEN_{tail[:at]}0x{word:016x}{tail[at + 18 :]}"


@pytest.mark.parametrize(
    "array, count, why",
    [
        ("golden_bits", 1, "1 of 128 elements are not"),
        ("golden_attention", 1, "off the golden model by"),
        ("golden_q", 2, "elements are not"),
        ("golden_kv", 2, "elements are not"),
    ],
)
def test_it_fails_where_a_golden_word_is_wrong(config, folder, array, count, why):
    code = library(folder, golden=altered(golden_vectors(config), array))
    failed, wrong = verdict(config, code)
    assert failed == count and why in wrong


def test_it_fails_where_the_register_bus_is_wrong(config, code):
    def other_id(address, value):
        return DRIVE_ID ^ 1 if address == REGISTERS["ID"].address else value

    assert verdict(config, code, read=other_id) == (1, "register ID reads 54534e48h")
    failed, wrong = verdict(config, code, read=lambda _, value: value & ~(1 << 18))
    assert failed == 1 and "register ID" not in wrong and "keep what is written" in wrong


def test_it_fails_where_an_operation_never_ends(config, code):
    def busy(address, value):
        return value | 1 if address == REGISTERS["FLASH_STATUS"].address else value

    failed, wrong = verdict(config, code, read=busy)
    assert failed == config.channels * config.dies and wrong.count("cause 1000h") == failed


def test_a_missing_die_is_named(config, code):
    """By channel and die, with what its PHY has seen; the others are tried all the same."""
    failed, lines = bring_up(config, code, top=MissingDie(config, 1, 0))
    at = lines.index("FAIL  channel 1 die 0: does not answer a reset: cause 0004h")
    assert lines[at + 1].startswith("      its PHY: R/B_n did not follow a reset: no power, no die")
    assert failed == 1 and sum(", ONFI" in line for line in lines) == 3
    found = (
        "      its PHY: R/B_n followed a reset, ID right at 8 to 10 half clocks, data are taken "
    )
    assert lines.count(found + "at 9") == 3
    assert sum("erased, programmed, read: cause 0000h" in line for line in lines) == 3
    assert lines[-1] == "FAILED"


@pytest.mark.parametrize(
    "state, said",
    [
        (0b111, "R/B_n followed a reset$"),
        (0b111 | 9 << 8, "R/B_n followed a reset, data are taken at 9$"),
        (0b011 | 9 << 8, "R/B_n followed a reset, no ID at any time: wrong pins of its data"),
        (0b011 | 9 << 8 | 20 << 16 | 2 << 24, "right at 20 to 21 half clocks, data are taken at 9"),
        (0b011 | 9 << 8 | 20 << 16 | 2 << 24, "9: too far from its channel's other dies$"),
    ],
)
def test_what_a_phy_may_tell(config, code, state, said):
    def read(address, value):
        return state if address == REGISTERS["PHY_STATE"].address else value

    _, lines = bring_up(config, code, read=read)
    told = [line for line in lines if line.startswith("      its PHY: ")]
    assert len(told) == 4 and all(re.search(said, line) for line in told)


@pytest.mark.parametrize("refused, failures", [(NandOp.READ_ID, 0), (NandOp.READ, 4)])
def test_dies_without_an_id_may_say_so(config, code, refused, failures):
    """As those of a drive whose pages lie in a memory."""
    asked = []

    def seen(address, value):
        if address == REGISTERS["FLASH_OP"].address:
            asked.append(value & 0xFF)

    def read(address, value):
        if address == REGISTERS["FLASH_STATUS"].address and asked[-1] == refused.value:
            return 2 | Cause.NOT_ALLOWED.value << 16
        return value

    failed, wrong = verdict(config, code, read=read, seen=seen)
    assert failed == failures and wrong.count("read: cause 0009h") == failures


def test_a_drive_of_another_configuration_is_found_out(folder, config):
    other = c_header(DriveConfig.preset("tiny", clock_hz=200_000_000))
    failed, wrong = verdict(config, library(folder, header=other))
    assert failed == 1 and wrong.startswith("CAPABILITIES: status 0000h")


def test_bad_flash_is_found_out(config, code):
    geometry, row = config.flash.geometry, 4 * config.flash.geometry.pages

    def on(**faults):
        return verdict(config, code, faults=Faults(geometry, **faults))

    assert on(bit_flips={(0, 1, row): 5}) == (0, "")
    failed, wrong = on(bit_flips={(0, 1, row): 200})
    assert failed == 1 and "channel 0 die 1" in wrong and "200 of 4352 bits differ" in wrong
    failed, wrong = on(weak_blocks={(1, 0, 4): 0})
    assert failed == 2 and "channel 1 die 0: block 4 erased, programmed, read: cause 0001h" in wrong
    assert "BRINGUP_BLOCK says where to begin" in wrong and "3 of 4 blocks erased again" in wrong
    failed, wrong = on(weak_pages={(0, 0, row): 1})  # the first program is the raw page's
    assert failed == 1 and wrong.startswith("APPEND of 11 tokens") and "of 1 it failed" in wrong


def test_blocks_that_are_marked_bad_are_left_alone(config, code):
    """Their erase would fail; each die has another block for it."""
    marks = [(0, 0, 5), (0, 1, 4), (1, 0, 4), (1, 0, 5), (1, 0, 6)]
    failed, lines = bring_up(config, code, faults=Faults(config.flash.geometry, bad_blocks=marks))
    assert failed == 0 and "PASS  4 of 4 blocks erased again" in lines
    for die, block in (
        ("0 die 0", "4"),
        ("0 die 1", "5, those before it are marked bad,"),
        ("1 die 0", "7, those before it are marked bad,"),
        ("1 die 1", "4"),
    ):
        start = f"PASS  channel {die}: block {block} erased, programmed, read: cause 0000h, 0 of"
        assert sum(line.startswith(start) for line in lines) == 1
    every = [(0, 1, block) for block in range(4, config.flash.geometry.blocks)]
    failed, wrong = verdict(config, code, faults=Faults(config.flash.geometry, bad_blocks=every))
    assert failed == 1 and "channel 0 die 1: no block is free of a maker's mark" in wrong


def test_too_little_memory_is_refused(config, code):
    failed, lines = bring_up(config, code, host_bytes=1 << 16)
    assert failed == 1 and lines == [
        "FAIL  memory: BRINGUP_HOST_BYTES and BRINGUP_DRAM_BYTES are needed"
    ]


@pytest.mark.parametrize(
    "preset, options",
    [
        *(("tiny", options) for options in (("-m32", "-O2"), ("-O3",), ("-Os", "-std=c11"))),
        *((board.preset, ("-O3",)) for board in BOARDS.values()),
    ],
)
def test_a_freestanding_compiler_takes_it(tmp_path, preset, options):
    skip_unless_known(options)
    for name, text in software_files(DriveConfig.preset(preset)).items():
        (tmp_path / name).write_text(text)
    for name in ("bringup.c", "drive.c"):
        command = ["gcc", "-std=c99", *STRICT, *options, "-ffreestanding", "-c", name]
        command += ["-DINSTINFER_PAGES_AT=0x10000000"] if preset == "smartssd" else []
        subprocess.run(command, cwd=tmp_path, check=True)


def test_the_board_file(folder):
    """It says what it has to be told, and is one program with the rest."""
    sources = ["board.c", "bringup.c", "drive.c"]
    command = ["gcc", "-std=c99", *STRICT, *sources, "-o", "board"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode and "say where the drive and its memories are" in done.stderr
    places = [f"-DINSTINFER_{n}" for n in ("BASE=0x43c00000", "HOST=0x1000000", "DRAM=0x2000000")]
    subprocess.run([*command, *places], cwd=folder, check=True)


@pytest.mark.parametrize("groups", [0, 33])
def test_golden_vectors_that_do_not_fit_are_refused(config, groups):
    with pytest.raises(ValueError, match=rf"groups = {groups} is not possible.*choose fewer"):
        golden_vectors(config, groups=groups)


def test_golden_vectors_of_large_pages_are_of_fewer_groups():
    """Two channels of 16 KiB pages: a group for each would be more than a command takes."""
    config = DriveConfig.preset("tiny", profile="mlc_cosmos_sdr")
    tokens, pages = (
        int(re.search(rf"{name} (\d+)u", golden_vectors(config))[1])
        for name in ("GOLDEN_TOKENS", "GOLDEN_PAGES")
    )
    assert pages == 2 and tokens == config.group_tokens(64) + 3
    assert 256 * tokens <= config.max_transfer < 256 * (2 * tokens - 3)

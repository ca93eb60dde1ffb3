"""The parameter page, taken apart by a layout of its own; the CRC as a division of polynomials."""

import dataclasses
import struct

import pytest

from flash_model.endurance import Endurance
from flash_model.parameter_page import crc16, parameter_page, unique_id
from flash_model.profiles import PROFILES, profile

LAYOUT = struct.Struct(
    "<4s H H H 2x H B 17x 12s 20s B H 13x"  # revision and features; manufacturer
    "I H I H I I B B B H H B H B B B B B 13x"  # memory organisation
    "B H H H H H H B B B 6x B B H H 8x H 88x H"  # electrical; vendor; CRC
)
EXTENDED = struct.Struct("<H 4s 10x 16s B B H H 10x")  # Linux: struct onfi_ext_param_page
NAMES = (
    "signature revision features commands extended copies maker model jedec date "
    "page spare partial partial_spare pages blocks luns cycles bits bad endurance good "
    "good_endurance nop partial_attr ecc plane_bits plane_ops "
    "capacitance sdr cache_mode prog bers read ccs nv_ddr nv_ddr2 nv_ddr_features "
    "input strength plane_read adl vendor crc"
).split()


def remainder(data):
    """The CRC as the rest of a division by x^16 + x^15 + x^2 + 1, the first 16 bits changed by
    the initial value."""
    bits = int.from_bytes(data + b"\0\0", "big") ^ 0x4F4E << 8 * len(data)
    for shift in range(8 * len(data) - 1, -1, -1):
        if bits >> shift + 16 & 1:
            bits ^= 0x18005 << shift
    return bits


@pytest.mark.parametrize("data", [b"", b"\0", b"ONFI", bytes(range(254)), b"\xff" * 254])
def test_the_crc_is_a_remainder(data):
    assert crc16(data) == remainder(data)
    assert crc16(data + crc16(data).to_bytes(2, "big")) == 0


@pytest.mark.parametrize("name", PROFILES)
def test_fields(name):
    p = profile(name)
    page, extended = parameter_page(p)[:256], parameter_page(p)[256:]
    assert (LAYOUT.size, len(page)) == (256, 256)
    fields = dict(zip(NAMES, LAYOUT.unpack(page), strict=True))
    g, t = p.geometry, p.timing
    assert (fields["signature"], fields["copies"]) == (b"ONFI", 3)
    assert fields["model"].decode().rstrip().lower() == name
    assert (fields["page"], fields["spare"]) == (g.page_bytes, g.spare_bytes)
    assert (fields["pages"], fields["blocks"]) == (g.pages, g.blocks)
    assert (fields["luns"], fields["cycles"], fields["jedec"]) == (1, 0x23, 0x2C)
    assert 1 << fields["plane_bits"] >= g.planes
    value, exponent = fields["endurance"] & 255, fields["endurance"] >> 8
    assert value * 10**exponent == p.endurance.erases
    assert fields["bits"] == p.endurance.bits_per_cell
    for field, ns in (("prog", t.t_prog_ns), ("bers", t.t_bers_ns), ("read", t.t_r_ns)):
        assert (fields[field] - 1) * 1000 < ns <= fields[field] * 1000
    assert fields["crc"] == remainder(page[:254])
    # program cache, read cache, features, 78h, copyback, unique ID, 06h, FAh
    assert fields["commands"] == sum(1 << bit for bit in (0, 1, 2, 3, 4, 5, 6, 9))
    several = g.planes > 1  # multi-plane program and erase, and read
    assert fields["features"] == several * (1 << 3 | 1 << 6) | 1 << 7
    assert fields["plane_ops"] == several * 1 << 1
    assert fields["plane_read"] == several * fields["read"]
    assert fields["sdr"] & 1  # mode 0 is every part's
    assert (fields["ecc"], 16 * fields["extended"]) == (0xFF, len(extended))
    crc, signature, sections, *ecc = EXTENDED.unpack(extended)
    assert (crc, signature) == (remainder(extended[2:]), b"EPPS")
    assert sections == bytes([2, 1, *bytes(14)])  # one of ECC, 16 bytes
    e = p.endurance
    assert ecc == [e.ecc_bits, 10, e.bad_blocks, fields["endurance"]]


def test_times_that_do_not_fit_are_the_largest():
    p = profile("tiny")
    slow = dataclasses.replace(p, timing=dataclasses.replace(p.timing, t_bers_ns=10**8))
    assert parameter_page(slow)[135:137] == b"\xff\xff"


def test_unique_ids_differ_by_drive_and_place():
    ids = {
        unique_id(serial, channel, die)
        for serial in range(3)
        for channel in range(12)
        for die in range(12)
    }
    assert len(ids) == 3 * 12 * 12
    for number in ids:
        assert all(a ^ b == 0xFF for a, b in zip(number[:16], number[16:], strict=True))


@pytest.mark.parametrize(
    "change", [{"bits_per_cell": 0}, {"bad_blocks": -1}, {"erases": 0}, {"ecc_bits": 255}]
)
def test_impossible_endurance_is_refused(change):
    good = dict(bits_per_cell=1, bad_blocks=0, erases=1, ecc_bits=1)
    Endurance(**good)
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=f"{name} = {value} is not possible"):
        Endurance(**{**good, **change})

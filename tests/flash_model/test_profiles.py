"""Profiles, geometry and timing: completeness, arithmetic, refusals."""

import dataclasses
from fractions import Fraction

import pytest

from flash_model.geometry import Geometry
from flash_model.profiles import PROFILES, profile
from flash_model.timing import cycles

KINDS = ("paper", "datasheet", "standard", "firmware", "assumed")


@pytest.mark.parametrize("name", PROFILES)
def test_every_parameter_has_a_value_and_a_source(name):
    p = profile(name)
    parts = (p.geometry, p.timing, p.endurance, p.energy)
    names = {f.name for part in parts for f in dataclasses.fields(part)}
    assert {row[0] for row in p.table()} == names
    for _, _, source in p.table():
        assert source.split(":")[0] in KINDS
    hash(p)


def test_paper_profile_says_what_the_paper_says():
    p = profile("paper")
    assert (p.geometry.channels, p.geometry.page_bytes, p.timing.rate_mts) == (8, 4096, 1400)
    assert p.geometry.capacity == 128 << 30
    # 8 channels x 1.4 GB/s = 11.2 GB/s inside
    assert (
        p.geometry.channels * p.timing.bytes_per_clock(250_000_000) * 250_000_000 == 11_200_000_000
    )


def test_published_figures():
    z, cosmos = profile("znand"), profile("mlc_cosmos")
    assert (z.timing.t_r_ns, z.timing.t_prog_ns, z.endurance.bits_per_cell) == (3_000, 100_000, 1)
    assert z.geometry.die_bytes == 64 * 2**30 // 8  # 64 Gb
    g = cosmos.geometry
    assert (g.channels, g.dies, g.blocks, g.pages) == (8, 8, 4096 + 88, 256)
    assert g.page_total == 16384 + 1664
    # a page on a 200 MT/s bus, at 200 MHz one byte a clock
    assert cosmos.timing.data_cycles(g.page_words, 200_000_000) == 18048


def test_unknown_profile_lists_the_names():
    with pytest.raises(ValueError, match="'nope'.*paper.*tlc_onfi5.*tiny"):
        profile("nope")


def test_cycles_round_up_exactly():
    assert cycles(100, 250_000_000) == 25
    assert cycles(100, 285_000_000) == 29  # 28.5
    assert cycles(0.1, 10_000_000_000) == 1  # 0.1 is taken as the decimal number
    assert cycles(45_000, 285_000_000) == 12_825


def test_data_rate_is_exact_and_capped():
    timing = profile("paper").timing
    assert timing.bytes_per_clock(285_000_000) == Fraction(280, 57)
    assert timing.bytes_per_clock(100_000_000) == 8  # 14 would not fit 64 bits
    assert timing.data_cycles(512, 250_000_000) == 732  # 4096 / 5.6 = 731.4


@pytest.mark.parametrize(
    "change,message",
    [
        ({"channels": 0}, "channels = 0"),
        ({"planes": 3}, "planes = 3"),
        ({"planes": 4, "blocks": 6}, "blocks = 6.*planes = 4"),
        ({"page_bytes": 4100}, "page_bytes = 4100"),
        ({"blocks": 1 << 16, "pages": 512}, "row address of 24 bits"),
        ({"page_bytes": 32768}, "4095 words"),
    ],
)
def test_impossible_geometry_is_refused(change, message):
    good = dict(channels=1, dies=1, planes=1, blocks=8, pages=8, page_bytes=512, spare_bytes=32)
    Geometry(**good)
    with pytest.raises(ValueError, match=message):
        Geometry(**{**good, **change})


def test_impossible_timing_is_refused():
    with pytest.raises(ValueError, match="t_r_ns = 0"):
        dataclasses.replace(profile("tiny").timing, t_r_ns=0)


def test_rows():
    g = profile("tiny").geometry
    assert g.row(3, 5) == 3 * 16 + 5
    with pytest.raises(ValueError, match="block = 64.*0..63"):
        g.row(64, 0)

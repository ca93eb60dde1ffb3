"""The page source: each request's beats, whole, in order, with the tags of their places."""

import dataclasses

import pytest

from flash_model.profiles import profile
from rtl.pages.source import PageSource
from tests.formal.mutant import mutant
from tests.formal.page_source_contract import PageSourceContract
from tests.formal.prover import Counterexample, check

pytestmark = pytest.mark.formal

GEOMETRY = dataclasses.replace(profile("tiny").geometry, page_bytes=128)


@pytest.mark.parametrize("depth", [2, 4, pytest.param(8, marks=pytest.mark.soak)])
def test_page_source(proved, depth):
    source = PageSource(GEOMETRY, depth=depth)
    proved(f"PageSource, depth {depth}", PageSourceContract(source, depth=depth))


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("last_token.eq(token == unit.tokens - 1)", "last_token.eq(token == unit.tokens)"),
        ("first_of_unit.eq(beat == 0)", "first_of_unit.eq(token == 0)"),
        ("self.i.ready.eq(units.i.ready & ops.i.ready)", "self.i.ready.eq(units.i.ready)"),
        ("self.i.valid & units.i.ready & from_flash", "self.i.valid & units.i.ready"),
        ("word.ready.eq(beats.i.ready | passed_over)", "word.ready.eq(1)"),
        ("m.d.sync += token.eq(0)", "m.d.sync += token.eq(token)"),
        ("beats.i.payload.lanes.eq(0)", "beats.i.payload.lanes.eq(1)"),
        ("units.o.ready.eq(beats.i.ready),", "units.o.ready.eq(1),"),
        ("last_beat & last_token & unit.last", "last_beat & last_token"),
        ("self.i_tail.ready.eq(beats.i.ready |", "word.ready.eq(beats.i.ready |"),
        ("wanted.skip * wanted.beats", "wanted.skip"),
    ],
    ids=[
        "a token too many",
        "marks the wrong beat",
        "loses a page read",
        "reads a page for a tail",
        "loses words",
        "begins within the next",
        "a null beat with data",
        "loses a null beat",
        "ends the pass with every page",
        "takes words for the tail's",
        "reads from another column",
    ],
)
def test_faults_are_found(right, wrong):
    broken = mutant(PageSource, right, wrong)(GEOMETRY, depth=2)
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(PageSourceContract(broken, depth=2, inside=False))

"""The rules of AXI4: legal traffic passes, each kind of illegal traffic is told."""

import pytest

from cosim.axi_rules import CHANNELS, AxiRules, AxiViolation

QUIET = {f"{channel}{end}": 0 for channel in CHANNELS for end in ("valid", "ready")}


def aw(addr, beats, ready=1, **more):
    """A clock in which a write is asked for."""
    payload = {"awid": 0, "awaddr": addr, "awlen": beats - 1, "awsize": 3, "awburst": 1} | more
    return payload | {"awvalid": 1, "awready": ready}


def ar(addr, beats, **more):
    return {name.replace("aw", "ar"): value for name, value in aw(addr, beats, **more).items()}


def w(last, ready=1, data=7, valid=1):
    return {"wdata": data, "wstrb": 255, "wlast": last, "wvalid": valid, "wready": ready}


def b(id=0):
    return {"bid": id, "bresp": 0, "bvalid": 1, "bready": 1}


def r(last, id=0):
    return {"rid": id, "rdata": 1, "rresp": 0, "rlast": last, "rvalid": 1, "rready": 1}


def follow(*clocks):
    rules = AxiRules(8)
    idle = {f"{channel}{name}": 0 for channel, names in CHANNELS.items() for name in names}
    for clock in clocks:
        rules.clock({**idle, **QUIET, **clock}.get)
    return rules


@pytest.mark.parametrize(
    "clocks",
    [
        (aw(4096 - 16, 2), w(0), w(1), b()),
        (w(0), w(1), aw(0, 2), b()),  # data before their address
        (aw(0, 1) | w(1), aw(64, 2, ready=0), aw(64, 2) | w(0) | b(), w(1), b()),
        (ar(4096 - 2048, 256), *[r(0)] * 255, r(1)),
        (ar(0, 1), ar(8, 2) | r(1), r(0), r(1)),
        (w(1, ready=0), w(1, ready=0), w(1) | aw(0, 1), b()),
    ],
)
def test_legal(clocks):
    rules = follow(*clocks)
    assert rules.settled()
    assert rules.bursts == sum(c.get("awready", 0) + c.get("arready", 0) for c in clocks)


@pytest.mark.parametrize(
    "told, clocks",
    [
        ("cross 4096", (aw(4096 - 16, 3),)),
        ("cross 4096", (ar(8, 512 // 8 * 8 + 1),)),
        ("on a bus of 8", (ar(0, 1, awsize=4),)),
        ("does not increment", (ar(0, 17, awburst=0),)),
        ("awvalid falls", (aw(0, 1, ready=0), {})),
        ("aw changes", (aw(0, 1, ready=0), aw(8, 1))),
        ("wvalid falls", (w(1, ready=0), w(1, valid=0))),
        ("w changes", (w(1, ready=0), w(1, data=8))),
        ("wlast with beat 1 of a burst of 2", (aw(0, 2), w(1))),
        ("no wlast", (aw(0, 2), w(0), w(0))),
        ("no wlast", (w(0), w(0), aw(0, 2))),
        ("bid 0 answers no write", (aw(0, 1), b())),
        ("bid 0 answers no write", (w(1), b())),
        ("bid 1 answers no write", (aw(0, 1) | w(1), b(id=1))),
        ("rid 0 answers no read", (r(1),)),
        ("rid 1 answers no read", (ar(0, 1), r(1, id=1))),
        ("rlast is 1 with 1 beats", (ar(0, 2), r(1))),
        ("rlast is 0 with 0 beats", (ar(0, 2), r(0), r(0))),
    ],
)
def test_illegal(told, clocks):
    with pytest.raises(AxiViolation, match=told):
        follow(*clocks)


@pytest.mark.parametrize("clocks", [(ar(0, 2), r(0)), (aw(0, 1),), (w(0),), (aw(0, 1) | w(1),)])
def test_what_is_not_answered_is_not_settled(clocks):
    assert not follow(*clocks).settled()

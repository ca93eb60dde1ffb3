"""Pairs of a drive of gateware and its twin, kept over the tests of a module."""

import pytest

from tests.host.sparse.pair import PAPER, TINY, Pair


@pytest.fixture(scope="module")
def tiny_drives():
    pairs = [Pair(TINY)]
    yield pairs
    pairs[0].shutdown()


@pytest.fixture(scope="module", params=PAPER, ids=lambda codeword: f"codewords of {codeword}")
def paper_drives(request):
    pair = Pair(PAPER[request.param])
    yield pair
    pair.shutdown()


@pytest.fixture
def paper_pair(paper_drives):
    yield paper_drives
    paper_drives.close()


@pytest.fixture
def tiny_pair(tiny_drives):
    """A new one once it was filled: what the back door filled comes back late."""
    if tiny_drives[0].filled > 2000:
        tiny_drives.pop().shutdown()
        tiny_drives.append(Pair(TINY))
    yield tiny_drives[0]
    tiny_drives[0].close()

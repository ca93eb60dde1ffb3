"""The numpy twin: encoder against galois, decoder against known error patterns, CRC behind both."""

import zlib

import galois
import numpy as np
import pytest

from rtl.ecc import twin
from rtl.ecc.code import BchCode
from rtl.ecc.field import PRIMITIVE
from tests.rtl.ecc.patterns import flip, inject, messages

SEED = 20261124
LONG = pytest.mark.soak


def judge_of(code):
    extension = galois.GF(2**code.m, irreducible_poly=PRIMITIVE[code.m], primitive_element=2)
    return galois.BCH(
        2**code.m - 1, d=2 * code.t + 1, field=galois.GF(2), extension_field=extension
    )


def bits(code, words):
    """Bits of codewords in the order of galois: highest degree first, without the pad."""
    octets = np.ascontiguousarray(words).view(np.uint8)
    return np.unpackbits(octets, axis=1, bitorder="little")[:, : code.bits]


def test_ten_thousand_codewords_encoded_as_by_galois():
    code, rng = BchCode(512, 8), np.random.default_rng(SEED)
    judge = judge_of(code)
    for _ in range(10):
        sent = twin.encode(code, messages(rng, code, 1000))
        plain = galois.GF2(bits(code, sent)[:, : 64 * code.message_words])
        assert np.array_equal(np.array(judge.encode(plain)), bits(code, sent))
        assert not (sent[:, -1] >> np.uint64(64 - code.pad_bits)).any()


@pytest.mark.parametrize(
    "data_bytes, t",
    [(512, 8), pytest.param(512, 4, marks=LONG), pytest.param(1024, 40, marks=LONG)],
)
def test_two_hundred_patterns_decoded_as_by_galois(data_bytes, t):
    """0 to t errors; above that galois gives up, too, or finds the same codeword."""
    code, rng = BchCode(data_bytes, t), np.random.default_rng(SEED)
    judge = judge_of(code)
    counts = rng.integers(0, t + 3, 200)
    _, received = inject(rng, code, counts)
    got, corrected, bad = twin.decode(code, received)
    plain, errors = judge.decode(galois.GF2(bits(code, received)), errors=True)
    assert np.array_equal(errors == -1, bad)
    assert np.array_equal(np.where(bad, 0, errors), corrected)
    assert np.array_equal(np.array(plain)[~bad], bits(code, got)[:, : plain.shape[1]][~bad])


def check_patterns(code, count, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, code.t + 1, count)
    sent, received = inject(rng, code, counts)
    got, corrected, bad = twin.decode(code, received)
    assert np.array_equal(got, sent[:, : code.message_words])
    assert np.array_equal(corrected, counts)
    assert not bad.any()


@pytest.mark.parametrize(
    "data_bytes, t, count",
    [(512, 2, 2000), (512, 3, 2000), (512, 8, 5000), (1024, 16, 1000), (512, 72, 100)]
    + [(1024, 40, 300), (1024, 72, 100)],
)
def test_up_to_t_errors_are_always_corrected(data_bytes, t, count):
    check_patterns(BchCode(data_bytes, t), count, SEED + t)


@pytest.mark.parametrize(
    "data_bytes, t",
    [(512, 16)] + [pytest.param(1024, t, marks=LONG) for t in (27, 40, 59)],
)
def test_ten_thousand_patterns(data_bytes, t):
    check_patterns(BchCode(data_bytes, t), 10_000, SEED)


def test_errors_at_the_ends_and_in_a_row():
    code = BchCode(512, 8)
    sent = twin.encode(code, messages(np.random.default_rng(1), code, 5))
    received = sent.copy()
    patterns = [
        [0, code.bits - 1],
        range(60, 68),
        range(code.bits - 8, code.bits),
        range(64 * code.message_words - 4, 64 * code.message_words + 4),
        [63, 64],
    ]
    for row, slots in enumerate(patterns):
        flip(received, row, slots)
    got, corrected, bad = twin.decode(code, received)
    assert np.array_equal(got, sent[:, : code.message_words]) and not bad.any()
    assert corrected.tolist() == [len(slots) for slots in patterns]


def test_pad_bits_do_not_count():
    code = BchCode(512, 3)
    sent = twin.encode(code, messages(np.random.default_rng(1), code, 1))
    received = sent.copy()
    flip(received, 0, range(code.bits, code.slots))
    got, corrected, bad = twin.decode(code, received)
    assert np.array_equal(got, sent[:, : code.message_words])
    assert not corrected.any() and not bad.any()


@pytest.mark.parametrize("t, share", [(2, 0.25), (3, 0.12), (4, 0.02)])
def test_one_error_too_many_is_seen_or_caught_by_the_crc(t, share):
    """A share of about ``(bits / 2**m)**t / t!`` of such patterns looks like t other errors."""
    code, rng = BchCode(512, t), np.random.default_rng(SEED)
    message = messages(rng, code, 3000)
    for row in message:
        octets = row[:-1].tobytes() + int(row[-1] & 0xFFFFFFFF).to_bytes(4, "little")
        row[-1] = row[-1] & 0xFFFFFFFF | zlib.crc32(octets) << 32
    received = twin.encode(code, message)
    for row in range(len(received)):
        flip(received, row, rng.choice(code.bits, t + 1, replace=False))
    got, corrected, bad = twin.decode(code, received)
    assert np.array_equal(got[bad], received[bad][:, : code.message_words])
    assert not corrected[bad].any()
    missed = np.flatnonzero(~bad)
    assert 0 < len(missed) < share * len(received)
    for row in missed:
        octets = got[row].tobytes()
        passes = zlib.crc32(octets[:-4]) == int.from_bytes(octets[-4:], "little")
        assert not passes or np.array_equal(got[row], message[row])


def test_wrong_shapes_are_refused():
    code = BchCode(512, 2)
    with pytest.raises(ValueError, match="rows of 65 words"):
        twin.encode(code, np.zeros((3, 64), np.uint64))
    with pytest.raises(ValueError, match="rows of 66 words"):
        twin.decode(code, np.zeros(66, np.uint64))

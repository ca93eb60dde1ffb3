"""Page writer against the codec in numpy, and the codec against zlib and the twin's decoder."""

import random
import zlib

import numpy as np
import pytest

from rtl.ecc.code import BchCode
from rtl.ecc.scrambler import keystream, seed
from rtl.pages.codec import decode_pages, encode_pages
from rtl.pages.writer import PageWriter
from tests.rtl.streams_bench import CROSS, Bench

CODES = [BchCode(512, 3), BchCode(512, 2, 2)]


def pages(rng, count, codewords):
    """Requests and the user bytes of each, of any length up to so many codewords."""
    requests, data = [], []
    for _ in range(count):
        words = rng.choice([rng.randint(1, 64 * codewords), 64 * codewords, 64])
        requests.append(
            {
                "die": rng.randrange(4),
                "row": rng.getrandbits(24),
                "words": words,
                "tag": rng.getrandbits(8),
                "meta": rng.getrandbits(64),
            }
        )
        data.append(rng.randbytes(8 * words))
    return requests, data


def words(raw):
    return np.frombuffer(bytes(raw), "<u8").tolist()


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_pages_are_those_of_the_codec(code, stall, backpressure):
    requests, data = pages(random.Random(4), 5, 3)
    wanted = []
    for request, octets in zip(requests, data):
        user = np.frombuffer(octets, np.uint8)[None]
        wanted += words(
            encode_pages(code, [request["row"]], [request["meta"].to_bytes(8, "little")], user)
        )
    dut = PageWriter(4, code)
    bench = Bench(dut, timeout=20_000, quiet=True, stall=stall, backpressure=backpressure)
    bench.source(dut.i, requests)
    bench.source(dut.i_data, [{"data": word} for octets in data for word in words(octets)])
    programs, out = bench.sink(dut.o), bench.sink(dut.o_data)
    bench.run(lambda: len(out.items) >= len(wanted), idle=40)
    assert out.items == wanted
    assert programs.items == [
        {
            "die": request["die"],
            "row": request["row"],
            "tag": request["tag"],
            "words": -(-request["words"] // 64) * code.words,
        }
        for request in requests
    ]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("stall, backpressure", CROSS[::3])
def test_codewords_with_an_error_cannot_be_read(code, stall, backpressure):
    """Those alone, wherever their word is; the decoder of the twin says so."""
    rng = random.Random(6)
    lengths = [5 * 64, 5 * 64, 2 * 64 + 5]
    wrong = [{0, 63, 64, 4 * 64 + 17}, set(), {2 * 64 + 4}]
    dut = PageWriter(4, code)
    bench = Bench(dut, timeout=20_000, quiet=True, stall=stall, backpressure=backpressure)
    bench.source(dut.i, [{"row": n, "words": count} for n, count in enumerate(lengths)])
    items = [
        {"data": rng.getrandbits(64), "error": int(n in errors)}
        for count, errors in zip(lengths, wrong)
        for n in range(count)
    ]
    bench.source(dut.i_data, items)
    bench.sink(dut.o)
    out = bench.sink(dut.o_data)
    bench.run(lambda: len(out.items) >= 13 * code.words, idle=40)
    raw = np.array(out.items, "<u8").view(np.uint8)
    at = 0
    for row, (count, errors) in enumerate(zip(lengths, wrong)):
        codewords = -(-count // 64)
        page = raw[at : at + 8 * code.words * codewords]
        at += len(page)
        verdicts = decode_pages(code, [row], page[None])[2][0]
        lost = {n // 64 for n in errors}
        assert verdicts.tolist() == [-1 if n in lost else 0 for n in range(codewords)]


@pytest.mark.parametrize("code", [*CODES, BchCode(1024, 27)])
def test_codec_by_the_book(code):
    """Scrambled data, metadata and zlib's CRC; the twin's parity, and its verdicts."""
    rng = np.random.default_rng(5)
    data = rng.integers(0, 256, (3, 4 * code.data_bytes), np.uint8)
    rows, metas = [0, 77, 2**24 - 1], [bytes(8), b"\xff" * 8, bytes(range(1, 9))]
    raw = encode_pages(code, rows, metas, data)
    got, got_metas, corrected = decode_pages(code, rows, raw)
    assert (got == data).all() and got_metas == metas and (corrected == 0).all()
    codeword = raw[2].reshape(4, -1)[1].view("<u8")[: code.message_words].astype(np.uint64)
    plain = (codeword ^ keystream([seed(rows[2], 1)], code.message_words)[0]).astype("<u8")
    octets = plain.tobytes()
    assert zlib.crc32(octets[:-4]) == int.from_bytes(octets[-4:], "little")

    for count in range(code.t + 1):  # of page 1, codeword 2
        places = rng.choice(code.bits, count, replace=False)
        hit = raw.copy()
        view = hit[1].reshape(4, -1)[2]
        for place in places:
            view[place // 8] ^= 1 << place % 8
        got, _, corrected = decode_pages(code, rows, hit)
        assert (got == data).all() and corrected[1].tolist() == [0, 0, count, 0]


def test_a_page_read_from_another_row_does_not_pass():
    code, data = BchCode(512, 3), np.zeros((1, 1024), np.uint8)
    raw = encode_pages(code, [5], [bytes(8)], data)
    assert (decode_pages(code, [6], raw)[2] == -1).all()

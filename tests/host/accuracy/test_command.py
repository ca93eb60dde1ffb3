"""``instinfer eval``: windows, needles, the table's rows, and what is not possible."""

import json

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers

from host.accuracy.needle import TOWNS, make_trials
from host.accuracy.windows import cut_windows, lead_tokens, text_tokens
from host.cli import main
from host.options import BadOption
from tests.host.small_models import make

WORDS = "a the sea is salty because rivers carry minerals and water leaves as clouds".split()
NEEDLE_WORDS = "The secret number of Question What Answer : . ?".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model with a tokenizer of words and single digits."""
    path = tmp_path_factory.mktemp("model")
    words = ["<pad>", "<end>", "<unk>", *WORDS, *NEEDLE_WORDS, *TOWNS, *"0123456789"]
    tokenizer = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    ).save_pretrained(path)
    make("Llama", vocab_size=len(words), bos_token_id=None, eos_token_id=1).save_pretrained(path)
    return path


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(" ".join(WORDS * 30))
    return file


def test_windows_are_spread_over_the_text():
    tokens, lead = torch.arange(100), torch.tensor([7])
    windows = cut_windows(tokens, lead, 11, 4)
    assert windows.tolist() == [[7, *range(25 * n, 25 * n + 10)] for n in range(4)]
    with pytest.raises(BadOption, match="give --windows 9"):
        cut_windows(tokens, lead, 12, 10)
    with pytest.raises(BadOption, match="--window of 100"):
        cut_windows(tokens, lead[:0], 101, 1)


def test_needles_lie_where_they_should(folder, text):
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    tokens = text_tokens(tokenizer, text.read_text())
    assert lead_tokens(tokenizer).tolist() == []
    trials = make_trials(tokenizer, tokens, tokens[:0], 200, count=4, keys=3, seed=1)
    for n, trial in enumerate(trials):
        assert len(trial.prefix) + len(trial.question) == 200 and len(trial.answer) == 5
        words = tokenizer.convert_ids_to_tokens(trial.prefix)
        assert words.count("secret") == 3
        town = tokenizer.convert_ids_to_tokens(trial.question)[-2]
        place = words.index(town)
        assert words[place + 2 : place + 7] == tokenizer.convert_ids_to_tokens(trial.answer)
        assert abs(place / len(words) - (n + 0.5) / 4) < 0.2
    with pytest.raises(BadOption, match="--keys 9"):
        make_trials(tokenizer, tokens, tokens[:0], 200, 1, keys=9, seed=1)
    with pytest.raises(BadOption, match="--window 30 has no room"):
        make_trials(tokenizer, tokens, tokens[:0], 30, 1, keys=3, seed=1)


def test_command(folder, text, tmp_path, capsys):
    given = ["eval", "--model", str(folder), "--text", str(text), "--out", str(tmp_path)]
    assert main([*given, "--window", "128", "--windows", "2", "--ratios", "1/2", "0.0625"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 windows of 128, 126 positions scored" in shown and "left out: bounds" in shown
    record = json.loads((tmp_path / "eval.json").read_text())
    rows = {(row["method"], row["ratio"]): row for row in record["rows"]}
    assert len(rows) == len(record["rows"]) == 1 + 6 * 2 - 1
    for ratio in (1 / 2, 1 / 16):
        paged, single = rows["sparf", ratio], rows["sparq", ratio]
        assert paged["kl"] == single["kl"] and paged["elements"] == single["moved"]
        assert paged["moved"] > single["moved"] and rows["sparf-plain", ratio]["kl"] != paged["kl"]
    assert (tmp_path / "eval.png").stat().st_size > 10_000


def test_forced_tokens_besides_move_more(folder, text, tmp_path, capsys):
    given = ["eval", "--model", str(folder), "--text", str(text), "--out", str(tmp_path)]
    given += ["--window", "128", "--ratios", "1/4", "--methods", "sparf", "bounds", "local"]
    moved = {}
    for forced in ("within", "besides"):
        assert main([*given, "--forced", forced]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert f"{forced} the first 4 and last 32 tokens are always attended" in shown
        record = json.loads((tmp_path / "eval.json").read_text())
        assert record["forced"] == forced
        moved[forced] = {row["method"]: row["elements"] for row in record["rows"]}
    more = {name: moved["besides"][name] - moved["within"][name] for name in moved["within"]}
    assert more["dense"] == more["local"] == 0
    assert more["sparf"] > 0.1 and more["bounds"] > 0.1


def test_command_finds_needles(folder, text, tmp_path, capsys):
    given = ["eval", "--task", "needle", "--model", str(folder), "--text", str(text), "--json", "-"]
    options = ["--window", "150", "--needles", "2", "--methods", "sparf", "--ratios", "1/4"]
    assert main([*given, *options, "--out", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["trials"] for row in rows] == [2, 2]
    assert all(0 <= row["found"] <= 2 and 0 <= row["right"] <= 1 for row in rows)


@pytest.mark.parametrize(
    "options, said",
    [
        (["--ratios", "0"], "--ratios 0 is not possible: choose 0 < X <= 1"),
        (["--ratios", "9/8"], "--ratios 9/8 is not possible"),
        (["--ratios", "few"], "--ratios few is no number"),
        (["--channels", "65", "--kept", "9"], "--channels 65 is not possible"),
        (["--channels", "8", "--kept", "0"], "--kept 0 is not possible"),
        (["--channels", "8", "--kept", "9", "--ratios", "1/8"], "leave one out"),
        (["--methods", "h2o"], "--methods h2o is not known"),
        (["--window", "500"], "the text has 420 tokens"),
        (["--window", "513"], "the model takes 512 tokens"),
        (["--window", "100", "--windows", "5"], "give --windows 4"),
        (["--window", "100", "--from", "99"], "--from 99 is not possible"),
        (["--window", "2"], "--window 2 is not possible"),
        (["--sinks", "-1"], "--sinks -1 is not possible"),
        (["--codeword", "100"], "--codeword: a codeword of 100 bytes"),
        (["--bounds-unit", "48"], "--bounds-unit 48 is not possible: give a multiple of 32"),
        (["--text", "nowhere.txt"], "--text nowhere.txt cannot be read"),
    ],
)
def test_bad_input(folder, text, tmp_path, capsys, options, said):
    given = ["eval", "--model", str(folder), "--text", str(text), "--out", str(tmp_path)]
    if "--window" not in options:
        given += ["--window", "100"]
    assert main([*given, *options]) == 2
    assert said in capsys.readouterr().err

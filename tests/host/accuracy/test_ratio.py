"""What a ratio means, by the formulas and by hand; which cases it makes."""

import pytest
import torch

from host.accuracy.cases import Settings, make_cases
from host.accuracy.names import METHODS
from host.accuracy.ratio import (
    Layout,
    bounds_of,
    kept_of,
    nominal_of,
    sparf_of,
    with_forced,
)
from host.options import BadOption

SETTINGS = Settings(head_dim=64, window=32, sinks=4, unit=256)


@pytest.mark.parametrize("ratio", [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16])
@pytest.mark.parametrize("d", [64, 128])
def test_sparq_s_formula(ratio, d):
    """S r + 2 k d of 2 S d elements; 1/8 of 2048 tokens of 128 channels: r = 16, k = 128."""
    channels, share = sparf_of(ratio, d)
    kept = int(kept_of(share, torch.tensor([2048])))
    assert (2048 * channels + 2 * kept * d) / (2 * 2048 * d) == ratio
    assert nominal_of(channels, share, d) == ratio
    if (ratio, d) == (1 / 8, 128):
        assert (channels, kept) == (16, 128)


def test_least_is_one():
    assert sparf_of(1e-4, 64)[0] == 1
    assert kept_of(1e-6, torch.tensor([3, 2048])).tolist() == [1, 1]


def test_codewords_by_hand():
    assert [Layout(d, c).codeword_tokens for d, c in ((128, 1024), (64, 1024), (64, 512))] == [
        4,
        8,
        4,
    ]
    layout = Layout(64, 1024)
    mask = torch.zeros(20, dtype=torch.bool)
    mask[[0, 7, 8, 19]] = True  # codewords 0, 1 and 2 of K, and of V
    assert layout.tokens(mask) == 6 * 1024
    assert layout.dense(torch.tensor([16, 17])).tolist() == [4 * 1024, 6 * 1024]
    assert layout.channels(3, torch.tensor([512, 513])).tolist() == [3 * 1024, 6 * 1024]


def test_bounds_by_hand():
    """At 3/16 of 2048 tokens: an eighth of them, and a sixteenth of all for bounds."""
    assert int(kept_of(bounds_of(3 / 16), torch.tensor([2048]))) == 256
    for ratio in (1 / 16, 0, 1.5):
        with pytest.raises(ValueError, match="is not possible by bounds, .* give 1/16 < ratio"):
            bounds_of(ratio)


def test_forced_tokens_count_within_or_besides():
    kept, forced = torch.tensor([64, 30]), torch.tensor([36, 36])
    assert with_forced(kept, forced, besides=False).tolist() == [64, 36]
    assert with_forced(kept, forced, besides=True).tolist() == [100, 66]


@pytest.mark.parametrize("d, codeword", [(64, 100), (128, 128), (64, 0)])
def test_codewords_hold_whole_tokens(d, codeword):
    with pytest.raises(ValueError, match="does not hold whole tokens"):
        Layout(d, codeword)


def test_cases():
    cases, left_out = make_cases(list(METHODS), [1 / 8, 1 / 16], SETTINGS)
    assert len(cases) == 2 * len(METHODS) - 1
    assert len({case.method for case in cases}) == len(cases) - 4  # sparq's are sparf's
    assert left_out == ["bounds at 0.0625, as bounds alone are 1/16"]
    (case,), _ = make_cases(["sparf"], [], SETTINGS, channels=8, kept=128, tokens=2048)
    assert case.ratio == 1 / 8


@pytest.mark.parametrize("explicit", [{}, {"channels": 8, "kept": 128, "tokens": 2048}])
def test_cases_with_forced_tokens_besides(explicit):
    settings = Settings(head_dim=64, window=32, sinks=4, unit=256, besides=True)
    names = ["sparf", "sparf-plain", "bounds"]
    cases, _ = make_cases(names, [] if explicit else [1 / 8], settings, **explicit)
    assert len(cases) == (2 if explicit else 3)
    assert all(case.method.besides and case.ratio == 1 / 8 for case in cases)


@pytest.mark.parametrize(
    "names, ratios, more, match",
    [
        (["h2o"], [0.5], {}, "--methods h2o is not known: choose of sparf,"),
        (["bounds"], [0.05], {}, "nothing can be run; bounds at 0.05"),
        (["sparf"], [], {"channels": 65, "kept": 4}, r"--channels 65 .* have 64, choose 1\.\.64"),
        (["sparf"], [], {"channels": 0, "kept": 4}, "--channels 0 is not possible"),
        (["sparf"], [], {"channels": 4, "kept": 0}, "--kept 0 is not possible: keep 1"),
        (["sparf"], [], {"channels": 4}, "go together"),
        (["local"], [], {"channels": 4, "kept": 4}, "are of sparf and sparq"),
    ],
)
def test_bad_cases(names, ratios, more, match):
    with pytest.raises(BadOption, match=match):
        make_cases(names, ratios, SETTINGS, tokens=100, **more)

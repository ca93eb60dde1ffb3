"""The bar of the arithmetic on a real model: every head of SmolLM2, 200 to 512 tokens."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import host
from cosim import golden, reference
from host.generate.decode import encode
from host.models import load

LONGEST = 512
"""Tokens of the longest context: the demo's prompt once and a part of it again."""


def relative(x, reference):
    return np.linalg.norm(x - reference, axis=-1) / np.linalg.norm(reference, axis=-1)


@pytest.mark.soak
def test_every_head_of_a_real_model_meets_the_bar():
    loaded = load("smollm2")
    captured = {}

    def capture(module, q, k, v, mask, **options):
        captured[module.layer_idx] = [x[0].transpose(0, 1).half().numpy() for x in (q, k, v)]
        return sdpa_attention_forward(module, q, k, v, mask, **options)

    AttentionInterface.register("capture_qkv", capture)
    loaded.model.set_attn_implementation("capture_qkv")
    prompt = (Path(host.__file__).parent / "demo_prompt.txt").read_text()
    ids = torch.as_tensor(encode(loaded.tokenizer, prompt)).flatten()
    assert 200 < len(ids) < LONGEST
    with torch.no_grad():
        loaded.model(ids.repeat(2)[:LONGEST].reshape(1, -1))

    contexts = (200, len(ids), LONGEST)
    before, after, ratio, correct, half = [], [], [], [], []
    for q, k, v in captured.values():
        scale = q.shape[2] ** -0.5
        for tokens in contexts:
            position = tokens - 1
            keys, values = k[:tokens], v[:tokens]
            exact = golden.attend(*map(torch.from_numpy, (q[position], keys, values))).numpy()
            ideal = exact.astype(np.float16).astype(np.float64)
            torch16 = golden.sdpa(*map(torch.from_numpy, (q[position], keys, values))).numpy()
            group = len(exact) // k.shape[1]
            for head in range(k.shape[1]):
                mine = slice(head * group, (head + 1) * group)
                result = reference.twin_attend(
                    q[position, mine], keys[:, head], values[:, head], scale
                )
                out = result.out.astype(np.float64)
                before.extend(relative(result.quotient, exact[mine]))
                after.extend(relative(out, exact[mine]))
                ratio.extend(relative(out, exact[mine]) / relative(ideal[mine], exact[mine]))
                correct.extend((out == ideal[mine]).mean(axis=-1))
                half.extend(relative(torch16[mine].astype(np.float64), exact[mine]))
    print(
        f"\n{len(before)} heads: before rounding {max(before):.1e} at most, after / ideal "
        f"{max(ratio):.4f} at most, correctly rounded {np.mean(correct):.1%} mean, "
        f"{min(correct):.1%} worst head; error {np.mean(after):.3e} mean, {max(after):.3e} at "
        f"most; torch's FP16 attention: {np.mean(half):.3e} mean, {max(half):.3e} at most"
    )
    assert len(before) == len(contexts) * len(captured) * len(exact)
    assert max(before) <= 2e-5
    assert max(ratio) <= 1.01
    assert np.mean(correct) >= 0.95 and min(correct) >= 0.85

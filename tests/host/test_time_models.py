"""Host-time models against figures by hand and the models' own parameter counts."""

import pytest
from transformers import LlamaConfig, LlamaModel

from host import DriveConfig
from host.time_models import (
    EFFICIENCY,
    GPUS,
    MODELS,
    Decoder,
    Gpu,
    cpu_layer_seconds,
    gpu_layer_seconds,
    link_bytes_per_second,
)


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_those_that_transformers_makes(name):
    """Without norms, of which there are two a layer and one at the end."""
    decoder = MODELS[name]
    config = LlamaConfig(
        hidden_size=decoder.hidden,
        intermediate_size=decoder.feed_forward,
        num_hidden_layers=1,
        num_attention_heads=decoder.q_heads,
        num_key_value_heads=decoder.kv_heads,
        vocab_size=1,
    )
    import torch

    with torch.device("meta"):
        counted = sum(p.numel() for p in LlamaModel(config).parameters()) - 4 * decoder.hidden
    assert sum(a * b for a, b in decoder.products) == counted
    assert decoder.q_heads * decoder.head_dim == decoder.hidden


def test_flops_and_bytes_by_hand():
    decoder = Decoder("toy", 1, hidden=4, q_heads=2, kv_heads=1, head_dim=2, feed_forward=3)
    weights = 4 * 4 + 4 * 2 + 4 * 2 + 4 * 4 + 3 * 4 * 3  # q, k, v, out; gate, up, down
    pairs = 1 + 2 + 3  # of three tokens, each with itself and those before it
    assert decoder.flops(3) == 2 * 3 * weights + 2 * pairs * (2 * 2 + 2 * 2)  # heads: q k, p v
    moved = (4 + 8) + (4 + 4) + (4 + 6) + (3 + 4) + (4 + 2 + 2 + 4)
    assert decoder.bytes_moved(3) == 2 * (weights + 3 * moved)


def test_a_gpu_takes_the_longer_of_computing_and_moving():
    decoder = MODELS["llama3-8b"]
    a6000 = GPUS["a6000"]
    assert a6000.flops == pytest.approx(309.7e12 / 2, rel=1e-3)
    seconds = gpu_layer_seconds(decoder, 2048, a6000)
    assert seconds == decoder.flops(2048) / (EFFICIENCY * a6000.flops)
    slow = Gpu("slow memory", a6000.flops, 1e9)
    assert gpu_layer_seconds(decoder, 1, slow) == decoder.bytes_moved(1) / 1e9
    # of 8.03 G parameters, all but embedding and head of 128,256 x 4096 each, 13 %
    assert 32 * decoder.flops(1) / 2 == pytest.approx(0.87 * 8.03e9, rel=0.01)


def test_the_cpu_is_measured():
    toy = Decoder("toy", 1, hidden=32, q_heads=2, kv_heads=1, head_dim=16, feed_forward=48)
    assert cpu_layer_seconds(toy, 16, repeats=1) > 0


def test_the_link_is_a_word_a_clock():
    assert link_bytes_per_second(DriveConfig.preset("default")) == 2e9

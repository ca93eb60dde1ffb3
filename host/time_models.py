"""What takes time around the drive, in seconds: the host's layers; and what link and DRAM do.

The host. A layer of a decoder, in prefill, on a GPU takes the longer of

::

    FLOPs of the layer / (EFFICIENCY * peak)      and      bytes that must move / memory bandwidth

    FLOPs   2 for each weight and token; attention 2 d H t (t + 1) for t tokens, H query heads of d
            (two products of 2 d for each pair of tokens that the causal mask leaves)
    bytes   FP16: all weights once, and what goes in and out of each matrix product once

On the computer at hand it is measured: `cpu_layer_seconds`.

The link is `cosim.environment.EnvironmentTiming`, in the simulation itself: one 8-byte word a clock
each way (`link_bytes_per_second`), 800 ns from a read to its first data, 400 ns for a write, 16
bursts under way (assumed there: PCIe round trips are 0.5 to 1 us). At 250 MHz that is 2.0 GB/s,
less than the wires of PCIe 3.0 x4, the link of the paper's DaisyPlus board (8 GT/s a lane, 128 of
130 bits: 3.94 GB/s): the drive's own port is the limit, so no wire is modelled besides, no packet
headers and no other traffic.

Device DRAM is in the simulation too: one word a clock each way, 120 ns from a read to its first
data and 60 ns for a write, 16 bursts under way (assumed there: DDR4 behind an FPGA's controller).
One 64-bit channel of DDR4-2400 has 19.2 GB/s; refresh and row misses are in the 120 ns at most.
"""

import statistics
import time
from dataclasses import dataclass

__all__ = [
    "EFFICIENCY",
    "GPUS",
    "MODELS",
    "Decoder",
    "Gpu",
    "cpu_layer_seconds",
    "gpu_layer_seconds",
    "link_bytes_per_second",
]

EFFICIENCY = 0.5
"""Of a GPU's peak, reached in prefill. Assumed; FlexGen's cost model has 21.2 of 65 TFLOPS for a
T4, a third."""

_WORD, _FP16 = 8, 2  # bytes


@dataclass(frozen=True)
class Gpu:
    """A GPU as its datasheet has it.

    Parameters
    ----------
    name : str
    flops : float
        Peak of dense FP16 matrix products, per second.
    bandwidth : float
        Bytes per second of its memory.
    """

    name: str
    flops: float
    bandwidth: float


GPUS = {
    # NVIDIA RTX A6000 datasheet: 309.7 TFLOPS with structured sparsity, half of it dense; 768 GB/s.
    # The GPU of the InstInfer paper.
    "a6000": Gpu("NVIDIA RTX A6000", 154.8e12, 768e9),
    # NVIDIA T4 datasheet: 65 TFLOPS mixed precision, 320 GB/s.
    "t4": Gpu("NVIDIA T4", 65e12, 320e9),
    # NVIDIA A100 datasheet, 40 GB SXM: 312 TFLOPS FP16 tensor, dense; 1555 GB/s.
    "a100": Gpu("NVIDIA A100 40 GB", 312e12, 1555e9),
}


@dataclass(frozen=True)
class Decoder:
    """Shape of a decoder with gated feed-forward layers, as Llama's.

    Parameters
    ----------
    name : str
    layers, hidden, q_heads, kv_heads, head_dim, feed_forward : int
    """

    name: str
    layers: int
    hidden: int
    q_heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int

    @property
    def products(self):
        """``(inputs, outputs)`` of a layer's matrix products with weights."""
        q, kv = self.q_heads * self.head_dim, self.kv_heads * self.head_dim
        return (
            (self.hidden, q + 2 * kv),
            (q, self.hidden),
            (self.hidden, 2 * self.feed_forward),
            (self.feed_forward, self.hidden),
        )

    def flops(self, tokens):
        """Of a layer's prefill of so many tokens."""
        weights = sum(inputs * outputs for inputs, outputs in self.products)
        attention = 2 * self.head_dim * self.q_heads * tokens * (tokens + 1)
        return 2 * weights * tokens + attention

    def bytes_moved(self, tokens):
        """Through the memory of a GPU, at least."""
        weights = sum(inputs * outputs for inputs, outputs in self.products)
        heads = 2 * self.q_heads + 2 * self.kv_heads  # q, k, v in, attention out
        activations = sum(map(sum, self.products)) + heads * self.head_dim
        return _FP16 * (weights + tokens * activations)


MODELS = {
    # config.json of SmolLM2-135M-Instruct and of Meta-Llama-3-8B
    "smollm2": Decoder("SmolLM2-135M", 30, 576, 9, 3, 64, 1536),
    "llama3-8b": Decoder("Llama-3-8B", 32, 4096, 32, 8, 128, 14336),
}


def gpu_layer_seconds(decoder, tokens, gpu):
    """Seconds that a GPU computes a layer of a prefill of ``tokens`` tokens."""
    compute = decoder.flops(tokens) / (EFFICIENCY * gpu.flops)
    return max(compute, decoder.bytes_moved(tokens) / gpu.bandwidth)


def cpu_layer_seconds(decoder, tokens, repeats=3):
    """Measured here: a layer of random weights in torch's float32, the median of some runs."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        hidden_size=decoder.hidden,
        intermediate_size=decoder.feed_forward,
        num_hidden_layers=1,
        num_attention_heads=decoder.q_heads,
        num_key_value_heads=decoder.kv_heads,
        head_dim=decoder.head_dim,
        vocab_size=8,  # of which nothing is looked up
        max_position_embeddings=tokens,
    )
    model = LlamaModel(config).eval()
    states = torch.randn(1, tokens, decoder.hidden, generator=torch.Generator().manual_seed(0))
    seconds = []
    with torch.inference_mode():
        for _ in range(1 + repeats):  # the first one warms up
            begin = time.perf_counter()
            model(inputs_embeds=states, use_cache=False)
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def link_bytes_per_second(config):
    """Most that crosses the link of a drive in one direction."""
    return _WORD * config.clock_hz

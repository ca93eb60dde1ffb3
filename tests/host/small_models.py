"""Small random models of many kinds, and a drive of a few lines to run them on."""

import ml_dtypes
import numpy as np
import torch
import transformers as hf

from rtl.config import DriveConfig

CONFIG = DriveConfig.preset("tiny", channels=2)


class FloatDrive:
    """A drive of a few lines: K and V in lists, float64 attention. Counts its calls."""

    def __init__(self, config=CONFIG):
        self.config = config
        self.kv = {}
        self.closed, self.formats = [], []
        self.steps = self.appended = self.forks = self.cuts = 0
        self.batches = []
        self.fail_at = None
        self.under_way = {}  # appends by ticket, which nothing sees before they are waited for

    def open(self, *, layers, kv_heads, head_dim, max_tokens=None, kv_format="fp16", index="none"):
        assert index == "none"
        self.formats.append(kv_format)
        key = len(self.formats) - 1
        self.kv[key] = [[[], []] for _ in range(layers)]
        return key

    def append(self, sequence, layer, k, v):
        for store, new in zip(self.kv[sequence][layer], (k, v), strict=True):
            wanted = np.float16 if self.formats[sequence] == "fp16" else ml_dtypes.bfloat16
            assert new.dtype == wanted and new.ndim == 3
            store.extend(new)
        self.appended += len(k)

    def submit_append(self, sequence, layer, k, v):
        ticket = object()
        self.under_way[ticket] = sequence, layer, k.copy(), v.copy()
        return ticket

    def wait(self, ticket):
        self.append(*self.under_way.pop(ticket))

    def step(self, sequence, layer, q, k, v, attention="dense", scale=None):
        assert attention == "dense"
        self.steps += 1
        if self.steps == self.fail_at:
            raise RuntimeError("the link is down")
        self.append(sequence, layer, k[None], v[None])
        keys, values = (np.stack(x).astype(np.float64) for x in self.kv[sequence][layer])
        heads, kv_heads = len(q), keys.shape[1]
        out = np.empty(q.shape, q.dtype)
        for head in range(heads):
            scores = keys[:, head * kv_heads // heads] @ q[head].astype(np.float64) * scale
            weights = np.exp(scores - scores.max())
            out[head] = weights @ values[:, head * kv_heads // heads] / weights.sum()
        return out

    def attend_batch(self, jobs, attention="dense", scale=None):
        self.batches.append(len(jobs))
        return [self.step(*job, attention, scale) for job in jobs]

    def fork(self, sequence):
        self.formats.append(self.formats[sequence])
        key = len(self.formats) - 1
        self.kv[key] = [[list(store) for store in layer] for layer in self.kv[sequence]]
        self.forks += 1
        return key

    def truncate(self, sequence, tokens):
        for layer in self.kv[sequence]:
            for store in layer:
                del store[tokens:]
        self.cuts += 1

    def close(self, sequence):
        assert all(sequence != given[0] for given in self.under_way.values())
        self.closed.append(sequence)
        del self.kv[sequence]


SIZES = dict(
    hidden_size=192,
    intermediate_size=256,
    num_hidden_layers=2,
    num_attention_heads=3,
    head_dim=64,
    num_key_value_heads=1,
    vocab_size=301,
    max_position_embeddings=512,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=300,
)


def make(kind, **changes):
    """A small random model, weights large enough that attention matters."""
    torch.manual_seed(7)
    sizes = {**SIZES, **changes}
    if kind in ("Qwen2", "Phi3"):
        sizes.pop("head_dim")
    if kind in ("OPT", "GPTNeoX", "GPT2"):
        sizes.pop("num_key_value_heads"), sizes.pop("head_dim")
    if kind == "OPT":
        sizes.update(ffn_dim=256, word_embed_proj_dim=192)
    config = getattr(hf, f"{kind}Config")(**sizes)
    classes = {"GPT2": "GPT2LMHeadModel"}
    model = getattr(hf, classes.get(kind, f"{kind}ForCausalLM"))(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name:
                parameter.mul_(4)
    return model


def greedy(model, prompt, new=12, cache=None, **options):
    return model.generate(
        prompt,
        max_new_tokens=new,
        min_new_tokens=new,
        do_sample=False,
        past_key_values=cache,
        return_dict_in_generate=True,
        output_logits=True,
        **options,
    )

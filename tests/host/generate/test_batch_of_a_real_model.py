"""Eight prompts of different length, decoded together by SmolLM2: each as it is alone."""

import pytest
import torch

from host import DriveConfig, KvDrive
from host.generate.decode import encode, generate_batch
from host.models import load

PROMPTS = (
    "Why is the sky blue?",
    "Name three fruits.",
    "Write one sentence about the sea and the ships that sail on it.",
    "What is the capital of France?",
    "Hello!",
    "Count from one to five.",
    "Which animals live in the desert, and what do they drink?",
    "Who wrote Hamlet?",
)
TOKENS = 12


@pytest.mark.soak
def test_a_batch_of_eight_gives_the_tokens_of_each_row_alone():
    torch.manual_seed(0)
    loaded = load("smollm2")
    ids = [encode(loaded.tokenizer, prompt) for prompt in PROMPTS]

    def decode(rows):
        with KvDrive(DriveConfig.preset("default"), backend="twin") as drive:
            batch = generate_batch(loaded.model, loaded.tokenizer, drive, rows, TOKENS)
        return [row.tokens for row in batch.rows]

    together = decode(ids)
    alone = [decode([row])[0] for row in ids]
    same = sum(a == b for a, b in zip(together, alone, strict=True))
    print(f"\n{same} of {len(ids)} rows, {sum(map(len, together))} tokens")
    assert together == alone

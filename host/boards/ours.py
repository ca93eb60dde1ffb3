"""Folders that were written here before: what may be written over, and what may not."""

import hashlib
import json
from pathlib import Path

from ..options import BadOption

__all__ = ["NotOurs", "check_folder", "left_out", "sha256", "write_files"]


class NotOurs(BadOption):
    """A folder holds what was not written here; the message says what to do."""


def sha256(text):
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_folder(folder, sidecar, board=None):
    """Files of an earlier folder -> SHA-256; none where it is new or empty.

    Parameters
    ----------
    folder : path
    sidecar : str
        File in it that knows the others.
    board : str, optional
        Whose folder it may be; None: any board's.

    Raises
    ------
    NotOurs
        It has other things in it, is another board's, or a file was changed since it was written.
    """
    folder = Path(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return {}
    try:
        about = json.loads((folder / sidecar).read_text())
        before = dict(about["files"])
        theirs = about["board"]["name"] if board else None
        if not all(_inside(folder, name) for name in before):
            raise ValueError("names outside the folder")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotOurs(
            f"{folder} exists and was not written by this command (no {sidecar} with its files in "
            "it): choose another folder with --output, or empty this one"
        ) from error
    if theirs != board:
        raise NotOurs(
            f"{folder} is the folder of board {theirs!r}, whose files would be removed: choose "
            f"another folder for {board!r} with --output, or empty this one"
        )
    changed = [
        name
        for name, digest in before.items()
        if (folder / name).is_file()
        and hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest
    ]
    if changed:
        raise NotOurs(
            f"changed in {folder} since it was written, or left by a run that was cut off: "
            f"{', '.join(changed)}; move what you want to keep away, or choose another folder with "
            "--output"
        )
    return before


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
        As `check_folder`; or a file of somebody else is in the way.
    OSError
        It cannot be written.
    """
    folder = Path(folder)
    before = check_folder(folder, sidecar)
    in_the_way = [
        name
        for name in files
        if not _inside(folder, name)
        or (name not in before and name != sidecar and (folder / name).exists())
    ]
    if in_the_way:
        raise NotOurs(
            f"in {folder}, {', '.join(in_the_way)} would be written over, which this command did "
            "not write: move it away, or choose another folder with --output"
        )
    hashes = {name: sha256(text) for name, text in files.items() if name != sidecar}
    about = json.loads(files[sidecar]) | {"files": hashes}
    files = files | {sidecar: json.dumps(about, indent=2) + "\n"}
    for name in left_out(before, files):
        (folder / name).unlink(missing_ok=True)
        for above in list((folder / name).relative_to(folder).parents)[:-1]:
            if (folder / above).is_dir() and not any((folder / above).iterdir()):
                (folder / above).rmdir()
    for name, text in sorted(files.items(), key=lambda item: item[0] == sidecar):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return {name: text.count("\n") for name, text in files.items()}


def left_out(before, files):
    """What an earlier folder had and this one has not."""
    return sorted(set(before) - set(files))


def _inside(folder, name):
    """Whether a path below a folder stays there, whatever links say."""
    return folder.resolve() in (folder / name).resolve().parents

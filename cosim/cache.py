"""The user's cache folder, and entries in it that are made once and appear whole.

An entry is a folder named by the hash of everything it is made from. It is filled under another
name and renamed when complete, so that no one ever sees half of it; a lock file per entry keeps two
processes from making the same one.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

__all__ = ["cache_dir", "content_key", "made_once"]


def cache_dir():
    """Folder for what is made once per user.

    ``INSTINFER_CACHE`` if set, else ``XDG_CACHE_HOME/instinfer``, else ``~/.cache/instinfer``.
    """
    if path := os.environ.get("INSTINFER_CACHE"):
        return Path(path).expanduser()
    if path := os.environ.get("XDG_CACHE_HOME"):
        return Path(path) / "instinfer"
    return Path.home() / ".cache" / "instinfer"


def content_key(*parts):
    """Hash of strings and byte strings; where one ends and the next begins counts too."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode()
        digest.update(b"%d:" % len(raw) + raw)
    return digest.hexdigest()[:24]


def made_once(kind, key, make, keep=None):
    """The folder ``kind/key`` of the cache, filled by ``make`` if it is not there yet.

    Parameters
    ----------
    kind : str
        Folder of like entries.
    key : str
        Name of the entry, see `content_key`.
    make : callable
        Called with an empty folder to fill; if it raises, nothing is kept.
    keep : int, optional
        Of all entries of the kind, only so many are left, those used last.

    Returns
    -------
    pathlib.Path
        The complete entry.
    """
    folder = cache_dir() / kind
    entry = folder / key
    if entry.exists():
        os.utime(entry)
        return entry
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / f"{key}.lock"):
        if not entry.exists():
            for left in folder.glob(f"{key}.*.making"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            work = Path(tempfile.mkdtemp(prefix=f"{key}.", suffix=".making", dir=folder))
            try:
                make(work)
                work.rename(entry)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            _prune(folder, keep)
    return entry


def _prune(folder, keep):
    entries = [path for path in folder.iterdir() if path.is_dir() and not path.suffix]
    entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for entry in entries[keep:] if keep else []:
        shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def _locked(path):
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

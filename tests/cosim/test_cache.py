"""The user's cache: where it is, that entries appear whole and are made once."""

import multiprocessing
import time
from pathlib import Path

import pytest

from cosim.cache import cache_dir, content_key, made_once


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTINFER_CACHE", str(tmp_path / "cache"))


def test_where(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("INSTINFER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_dir() == Path("/somewhere/instinfer")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/people/ada")
    assert cache_dir() == Path("/people/ada/.cache/instinfer")


def test_key_depends_on_where_parts_end():
    assert content_key("ab", "c") != content_key("a", "bc")
    assert content_key("ab") == content_key(b"ab")


def test_a_failure_leaves_nothing():
    def fail(folder):
        (folder / "half").touch()
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        made_once("things", "x", fail)
    assert not [path for path in (cache_dir() / "things").iterdir() if path.suffix != ".lock"]
    assert made_once("things", "x", lambda folder: (folder / "whole").touch()).is_dir()
    assert [path.name for path in (cache_dir() / "things" / "x").iterdir()] == ["whole"]


def test_what_a_killed_process_left_goes():
    left = cache_dir() / "things" / "z.abc.making"
    left.mkdir(parents=True)
    made_once("things", "z", lambda folder: None)
    assert not left.exists()


def test_what_was_used_last_is_kept():
    for key in "abcd":
        made_once("things", key, lambda folder: (folder / "x").touch(), keep=3)
        time.sleep(0.01)
        made_once("things", "a", None)
    assert sorted(path.name for path in (cache_dir() / "things").iterdir() if path.is_dir()) == [
        "a",
        "c",
        "d",
    ]


def slow(results):
    def make(folder):
        results.put("made")
        time.sleep(0.3)
        (folder / "text").write_text("done")

    results.put((made_once("things", "y", make) / "text").read_text())


def test_two_processes_make_it_once():
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=slow, args=(results,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=20)
    assert sorted(results.get(timeout=5) for _ in range(3)) == ["done", "done", "made"]

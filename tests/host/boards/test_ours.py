"""Folders: written, written again, and left alone where they are somebody else's."""

import json

import pytest

from host.boards.ours import NotOurs, check_folder, sha256, write_files

FILES = {"a/x.v": "module x;\n", "b.txt": "one\ntwo\n", "about.json": '{"board": "b"}'}


def test_a_folder_is_written_and_its_sidecar_knows_the_files(tmp_path):
    lines = write_files(tmp_path / "new/folder", FILES, "about.json")
    assert lines["a/x.v"] == 1 and lines["b.txt"] == 2
    about = json.loads((tmp_path / "new/folder/about.json").read_text())
    assert about["board"] == "b"
    assert about["files"] == {name: sha256(FILES[name]) for name in ("a/x.v", "b.txt")}


def test_what_is_no_longer_written_is_removed_and_other_files_stay(tmp_path):
    write_files(tmp_path, FILES, "about.json")
    (tmp_path / "project").mkdir()
    (tmp_path / "project/mine.xpr").write_text("mine")
    write_files(tmp_path, {"c": "3\n", "about.json": "{}"}, "about.json")
    assert not (tmp_path / "a").exists() and not (tmp_path / "b.txt").exists()
    assert (tmp_path / "c").read_text() == "3\n"
    assert (tmp_path / "project/mine.xpr").read_text() == "mine"


def test_a_file_that_was_edited_is_not_written_over(tmp_path):
    write_files(tmp_path, FILES, "about.json")
    (tmp_path / "b.txt").write_text("edited\n")
    with pytest.raises(NotOurs, match=r"changed in .* since it was written.*: b\.txt; move"):
        write_files(tmp_path, FILES, "about.json")
    assert (tmp_path / "b.txt").read_text() == "edited\n"
    (tmp_path / "b.txt").unlink()
    write_files(tmp_path, FILES, "about.json")
    assert (tmp_path / "b.txt").read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    "sidecar",
    [None, "no JSON", '{"board": "b"}', '{"files": ["a"]}', '{"files": {"../../etc/x": "0"}}'],
)
def test_a_folder_of_somebody_else_is_left_alone(tmp_path, sidecar):
    (tmp_path / "theirs").write_text("theirs")
    if sidecar is not None:
        (tmp_path / "about.json").write_text(sidecar)
    with pytest.raises(NotOurs, match="was not written by this command.*choose another folder"):
        write_files(tmp_path, FILES, "about.json")
    assert {path.name for path in tmp_path.iterdir()} <= {"theirs", "about.json"}


def test_the_folder_of_another_board_is_left_alone(tmp_path):
    files = {"a/x.v": "module x;\n", "about.json": '{"board": {"name": "first"}}'}
    write_files(tmp_path, files, "about.json")
    with pytest.raises(NotOurs, match="is the folder of board 'first'.*folder for 'second' with"):
        check_folder(tmp_path, "about.json", "second")
    assert list(check_folder(tmp_path, "about.json", "first")) == ["a/x.v"]


def test_a_file_in_its_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        write_files(tmp_path / "file", FILES, "about.json")


def test_a_file_in_the_way_is_not_written_over(tmp_path):
    write_files(tmp_path, FILES, "about.json")
    (tmp_path / "mine.v").write_text("mine")
    with pytest.raises(NotOurs, match=r"mine\.v would be written over"):
        write_files(tmp_path, {**FILES, "mine.v": "theirs"}, "about.json")
    assert (tmp_path / "mine.v").read_text() == "mine"


def test_links_do_not_lead_out_of_the_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "folder"
    write_files(folder, {"about.json": "{}"}, "about.json")
    (folder / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotOurs, match=r"a/x\.v would be written over"):
        write_files(folder, FILES, "about.json")
    assert not any((tmp_path / "elsewhere").iterdir())


def test_an_edit_that_is_no_text_is_seen(tmp_path):
    write_files(tmp_path, FILES, "about.json")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(NotOurs, match=r"b\.txt"):
        check_folder(tmp_path, "about.json")

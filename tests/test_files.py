"""Writing whole or not at all, and deleting nothing that is not ours."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path, PurePosixPath

import pytest

from napari_emgauss import _files, _parts
from napari_emgauss._errors import ExportError, ModelFileError
from napari_emgauss._files import (
    check_writable,
    whole,
    whole_folder,
    write_bytes,
)
from napari_emgauss._owned_folder import MANIFEST_NAME, note_in_manifest, read_manifest, remove_from_manifest
from napari_emgauss._parts import PART_SUFFIX, sweep
from napari_emgauss._paths import is_inside, same_file

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
not_as_root = pytest.mark.skipif(getattr(os, "getuid", lambda: 1)() == 0, reason="root may write anywhere")


def is_number(path: PurePosixPath) -> bool:
    return path.name.isdigit()


def fill(path: Path, *names: str) -> None:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.tif"
    with whole(target) as part:
        assert part.parent == tmp_path
        assert part.name.startswith(".a.tif.") and part.name.endswith(PART_SUFFIX)
        part.write_bytes(b"all")
        assert not target.exists()
    assert target.read_bytes() == b"all"
    assert names_in(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.tif"
    target.write_bytes(b"old")
    with pytest.raises(error), whole(target) as part:
        part.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.tif"]


@posix_only
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_the_longest_name_that_the_disk_takes_can_be_written(tmp_path: Path) -> None:
    name = "ö" * 120 + ".safetensors"  # 252 bytes
    write_bytes(tmp_path / name, b"all")
    assert names_in(tmp_path) == [name]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="the disk is full"), whole(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names_in(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="missing' does not exist: create it first"):
        write_bytes(tmp_path / "missing" / "a", b"")


def test_our_own_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="mine"), whole(tmp_path / "a"):
        raise ModelFileError("mine")


@posix_only
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far" / "a")
    write_bytes(tmp_path / "near", b"all")
    assert (tmp_path / "near").is_symlink()
    assert (tmp_path / "far" / "a").read_bytes() == b"all"
    assert names_in(tmp_path / "far") == ["a"]


KILLED_WRITER = """
import sys, time
from pathlib import Path
from napari_emgauss._files import whole, whole_folder
if sys.argv[2] == "file":
    with whole(sys.argv[1]) as part:
        part.write_bytes(b"half")
        print(part, flush=True)
        time.sleep(60)
with whole_folder(sys.argv[1], lambda found: found.name.isdigit()) as new:
    (new / "0").mkdir()
    (new / "0" / "1").write_text("half")
    print(new.parent, flush=True)
    time.sleep(60)
"""


def start_writer(target: Path, kind: str) -> tuple[subprocess.Popen[str], Path]:
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED_WRITER), str(target), kind], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    return writer, Path(writer.stdout.readline().strip())


@posix_only
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_kill_leaves_is_swept_by_the_next_writer_of_the_name_and_not_before(tmp_path: Path, kind: str) -> None:
    writer, part = start_writer(tmp_path / "a", kind)
    fill(tmp_path, ".b.0123abcd.emgauss-part", ".a.part", ".a.0123abcd.emgauss-part.mine", ".a.notahex!.emgauss-part")
    others = names_in(tmp_path)
    try:
        assert sweep(tmp_path / "a", is_number) == []  # alive
        assert part.exists()
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    assert sweep(tmp_path / "a", is_number) == [part]
    assert names_in(tmp_path) == [name for name in others if name != part.name]


@posix_only
def test_a_foreign_file_in_what_a_kill_left_stays(tmp_path: Path) -> None:
    part = tmp_path / ".a.0123abcd.emgauss-part"
    fill(part, "new/0/1", "new/0/photograph.tif", "old/2", "3")
    (tmp_path / "a").mkdir()
    assert sweep(tmp_path / "a", is_number) == []
    left = sorted(path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file())
    assert left == ["3", "new/0/photograph.tif"]


@posix_only
def test_a_folder_that_had_stepped_aside_when_its_writer_was_killed_goes_back(tmp_path: Path) -> None:
    fill(tmp_path / ".a.0123abcd.emgauss-part", "new/1", "old/2")
    sweep(tmp_path / "a", is_number)
    assert names_in(tmp_path) == ["a"]
    assert names_in(tmp_path / "a") == ["2"]


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "a", is_number) as new:
        fill(new, "0/0", "0/1")
        assert not (tmp_path / "a").exists()
    assert names_in(tmp_path / "a" / "0") == ["0", "1"]
    assert names_in(tmp_path) == ["a"]


def test_a_folder_that_exists_is_replaced_only_where_that_was_allowed(tmp_path: Path) -> None:
    fill(tmp_path / "a", "0")
    with pytest.raises(ExportError, match="already exists"), whole_folder(tmp_path / "a", is_number):
        pass
    with whole_folder(tmp_path / "a", is_number, check_old=lambda _path: None) as new:
        fill(new, "1")
    assert names_in(tmp_path / "a") == ["1"]
    assert names_in(tmp_path) == ["a"]


def test_a_folder_that_gets_a_foreign_file_while_its_successor_is_written_stays(tmp_path: Path) -> None:
    fill(tmp_path / "a", "0")

    def check(folder: Path) -> None:
        if (folder / "mine.txt").exists():
            raise ExportError("foreign")

    with (
        pytest.raises(ExportError, match="foreign"),
        whole_folder(tmp_path / "a", is_number, check_old=check) as new,
    ):
        fill(new, "1")
        fill(tmp_path / "a", "mine.txt")
    assert names_in(tmp_path / "a") == ["0", "mine.txt"]
    assert names_in(tmp_path) == ["a"]


def test_an_output_that_can_be_written_leaves_no_trace_of_the_trial(tmp_path: Path) -> None:
    check_writable(tmp_path / "a")
    check_writable(tmp_path / "b", folder=True)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "folder", "overwrite", "words"),
    [
        ("there", False, False, "already exists: choose another name"),
        ("dangling", False, False, "already exists"),
        ("folder", False, True, "is a folder"),
        ("there", True, True, "is a file"),
        ("missing/a", False, True, "does not exist: create it first"),
        ("there/a", False, True, "does not exist"),
        ("n" * 300, False, True, "the name is too long"),
        ("n" * 300, True, True, "the name is too long"),
        ("n" * 300 + "/a", False, True, "the name is too long"),
        ("pipe", False, True, "is a pipe"),
        ("circle", False, True, "is not a valid file name"),
        ("a\0b", False, True, "is not a valid file name"),
    ],
)
@posix_only
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, name: str, folder: bool, overwrite: bool, words: str
) -> None:
    fill(tmp_path, "there", "folder/x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    os.mkfifo(tmp_path / "pipe")
    before = names_in(tmp_path)
    with pytest.raises(ExportError, match=words):
        check_writable(tmp_path / name, overwrite=overwrite, folder=folder)
    assert names_in(tmp_path) == before


@posix_only
def test_devices_and_sockets_are_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        for path, kind in (("socket", "socket"), ("/dev/null", "device")):
            with pytest.raises(ExportError, match=f"is a {kind}"):
                check_writable(path, overwrite=True)
            with pytest.raises(ExportError, match=f"is a {kind}"):
                write_bytes(path, b"")


def test_too_little_space_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"needs 1000000000\.00 GB"):
        check_writable(tmp_path / "a", nbytes=10**18)


def test_a_folder_that_takes_no_file_is_found_by_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(_files, "_to_disk", refuse)
    for folder in (False, True):
        with pytest.raises(ExportError, match="the disk is read-only"):
            check_writable(tmp_path / "a", folder=folder)
    assert names_in(tmp_path) == []


@posix_only
@not_as_root
def test_a_folder_without_permission_is_found_by_writing(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(ExportError, match="Permission denied"):
            check_writable(tmp_path / "a")
    finally:
        tmp_path.chmod(0o755)


@posix_only
def test_one_file_is_known_under_all_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a", "b", "folder/c")
    (tmp_path / "soft").symlink_to("a")
    (tmp_path / "other").symlink_to("folder")
    os.link(tmp_path / "a", tmp_path / "hard")
    monkeypatch.chdir(tmp_path)
    for name in ("a", "./a", "soft", "hard", "folder/../a", str(tmp_path / "a")):
        assert same_file("a", name), name
    assert not same_file("a", "b")
    assert same_file("new", tmp_path / "new")
    assert not same_file("new", "a")
    assert is_inside("other/c", "folder") and is_inside("folder", "other") and is_inside("other/new/x", "folder")
    assert not is_inside("a", "folder") and not is_inside(tmp_path, "folder")


def test_only_what_the_manifest_names_is_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    note_in_manifest(folder, ["one", "sub/two"])
    fill(folder, "one", "sub/two", "sub/three")
    owned = read_manifest(folder)
    assert owned is not None
    with pytest.raises(ExportError, match=r"'sub[/\\]three', which napari-emgauss did not write"):
        owned.check()
    owned.clear()
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == ["sub", "sub/three"]


def test_a_folder_that_is_all_ours_goes(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    note_in_manifest(folder, ["one", "sub/two"])
    fill(folder, "one", "sub/two")
    owned = read_manifest(folder)
    assert owned is not None
    owned.check()
    owned.clear()
    assert not folder.exists()


def test_files_are_struck_off_the_manifest_one_by_one(tmp_path: Path) -> None:
    note_in_manifest(tmp_path, ["one", "two"])
    note_in_manifest(tmp_path, ["one"])
    fill(tmp_path, "one", "two", "three")
    remove_from_manifest(tmp_path, ["one", "three"])
    assert names_in(tmp_path) == [MANIFEST_NAME, "three", "two"]
    remove_from_manifest(tmp_path, ["one"])
    with pytest.raises(ExportError, match="was not written by napari-emgauss"):
        note_in_manifest(tmp_path, ["three"])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "[" * 100_000, '{"format": "napari-emgauss-files", "format_version": 99, "files": ["mine"]}'],
)
def test_a_manifest_that_is_none_proves_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST_NAME).write_text(text)
    assert read_manifest(tmp_path) is None
    with pytest.raises(ExportError, match="was not written by napari-emgauss"):
        note_in_manifest(tmp_path, ["a"])


def test_a_manifest_never_reaches_out_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    fill(tmp_path, "mine", "a/one")
    (folder / MANIFEST_NAME).write_text(
        '{"format": "napari-emgauss-files", "format_version": 1, "files": ["../mine", "/etc/passwd", "one"]}'
    )
    owned = read_manifest(folder)
    assert owned is not None
    owned.clear()
    assert names_in(tmp_path) == ["mine"]
    with pytest.raises(ExportError, match="is not a file in"):
        note_in_manifest(tmp_path, ["../x"])


@posix_only
def test_links_are_neither_followed_nor_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    fill(tmp_path, "far/one")
    folder.mkdir()
    note_in_manifest(folder, ["one", "sub/one"])
    (folder / "one").symlink_to(tmp_path / "far" / "one")
    (folder / "sub").symlink_to(tmp_path / "far")
    owned = read_manifest(folder)
    assert owned is not None and owned.foreign() == folder / "one"
    owned.clear()
    assert (tmp_path / "far" / "one").exists()
    assert names_in(folder) == ["one", "sub"]


@posix_only
def test_where_no_locks_are_known_only_parts_of_yesterday_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_parts, "HAS_LOCKS", False)
    fill(tmp_path, ".a.0123abcd.emgauss-part", ".a.4567abcd.emgauss-part")
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / ".a.0123abcd.emgauss-part", (long_ago, long_ago))
    sweep(tmp_path / "a")
    assert names_in(tmp_path) == [".a.4567abcd.emgauss-part"]

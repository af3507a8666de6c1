"""Errors at each door use that door's own words."""

from __future__ import annotations

import ast
import pickle
import re
import string
from pathlib import Path

import numpy as np
import pytest

from napari_emgauss import StackError, StackFileError, VoxelSizeError
from napari_emgauss._errors import EmgaussError, ExportError
from napari_emgauss._remedies import _WORDS, Door, Remedy, remedy, remedy_names
from napari_emgauss.cli import main
from napari_emgauss.plugin.process._wording import sentence
from napari_emgauss.stack import read_stack

FIELDS = {"slices": 7, "last": 3, "most": 4, "example": "raw", "patterns": "'a*.tif'", "others": ".ome.tif"}
FIELDS |= {"gigabytes": 8, "pixels": 512}


@pytest.mark.parametrize("name", remedy_names())
def test_no_door_uses_the_words_of_another(name: str) -> None:
    fields = {key for words in _WORDS[name] for _, key, _, _ in string.Formatter().parse(words) if key}
    library, command_line, window = (Remedy(name, {key: FIELDS[key] for key in fields}).worded(door) for door in Door)
    assert "--" not in library
    assert "=" not in command_line.replace("==", "")
    assert "--" not in window and "skip=" not in window and "voxel_size_nm" not in window
    assert not any(words.endswith((".", ":", ",")) for words in (library, command_line, window))


def test_an_unknown_remedy_is_found_where_it_is_made() -> None:
    with pytest.raises(KeyError):
        remedy("a miracle")


@pytest.mark.parametrize("kind", [StackError, StackFileError, ExportError, VoxelSizeError])
def test_errors_keep_their_remedy_on_the_way_from_a_child(kind: type[EmgaussError]) -> None:
    error = kind("Slice 7 is empty", remedy=remedy("leave out slices", slices=7))
    again = pickle.loads(pickle.dumps(error))
    for one in (error, again):
        assert str(one) == "Slice 7 is empty: leave it out with skip='7'."
        assert one.worded(Door.COMMAND_LINE) == "Slice 7 is empty: leave it out with --skip 7."
        assert sentence(one) == "Slice 7 is empty: leave it out: untick it under Slices and damage."


@pytest.mark.parametrize("kind", [StackError, StackFileError, ExportError, VoxelSizeError])
def test_errors_can_be_made_without_their_arguments(kind: type[EmgaussError]) -> None:
    """Dask's workers install tblib's hooks, which make an exception bare and then fill in what it carried."""
    error = kind.__new__(kind)
    error.__dict__.update(problem="Slice 7 is empty", remedy=remedy("leave out slices", slices=7))
    assert error.worded(Door.COMMAND_LINE) == "Slice 7 is empty: leave it out with --skip 7."


SOURCE = Path(__file__).resolve().parents[1] / "src" / "napari_emgauss"
# What speaks on the command line alone, or of other people's commands.
MAY_NAME_OPTIONS = ("cli", "_remedies.py", "_doctor.py", "_backends.py")


def test_no_message_names_an_option_outside_the_command_line() -> None:
    """Whoever needs one adds a remedy: a message is read at other doors, too."""
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).parts
        if set(MAY_NAME_OPTIONS) & set(parts):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
        texts = [one for node in raised for one in ast.walk(node) if isinstance(one, ast.Constant)]
        found = [
            one.value for one in texts if isinstance(one.value, str) and re.search(r"(?<![\w-])--[a-z]", one.value)
        ]
        assert not found, f"{'/'.join(parts)} words an option: {found}"


def test_a_plain_sentence_is_the_same_everywhere() -> None:
    assert {StackError("It is broken.").worded(door) for door in Door} == {"It is broken."}


def test_library_and_command_line_word_the_same_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(0).integers(1, 255, (5, 16, 18), dtype=np.uint8)
    values[3] = 0
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(StackError, match="skip='3'"):
        read_stack(tmp_path / "a.npy", voxel_size_nm=(50, 5, 5))
    assert main(["info", str(tmp_path / "a.npy"), "--voxel-size", "50", "5", "5"]) == 2
    assert "--skip 3" in capsys.readouterr().err
    assert main(["fit", str(tmp_path / "a.npy"), "--voxel-size", "5", "5", "5", "-o", str(tmp_path / "m")]) == 2
    said = capsys.readouterr().err
    assert "isotropic already" in said and "--voxel-size" in said and "allow_isotropic" not in said

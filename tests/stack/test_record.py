"""Notes of stacks as dataclass and as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_emgauss import stack_from_array
from napari_emgauss.stack import StackRecord
from napari_emgauss.volume import Provenance

WRITTEN_BY_1_0 = {
    "source": None,
    "name": "cortex",
    "stack": {"voxel_size_source": "argument", "left_out_slices": [3], "left_out_z_nm": [120.0], "camera": "A"},
    "fit": {"seed": 4},
    "prior_name": "auto",
    "a_later_note": [1, 2],
}


def test_what_was_written_comes_back_with_what_we_do_not_know() -> None:
    provenance = Provenance.from_json(json.loads(json.dumps(WRITTEN_BY_1_0)))
    assert provenance.name == "cortex" and provenance.source is None and provenance.fit == {"seed": 4}
    assert provenance.stack.left_out == {3: 120.0} and provenance.stack.region is None
    assert provenance.more == {"a_later_note": [1, 2]} and provenance.stack.more == {"camera": "A"}
    written = json.loads(json.dumps(provenance.to_json()))
    assert written == {key: value for key, value in WRITTEN_BY_1_0.items() if value is not None}


@pytest.mark.parametrize("values", [None, "text", [], {}, {"stack": None}, {"stack": 3}])
def test_whatever_is_no_record_notes_nothing(values: object) -> None:
    assert Provenance.from_json(values) == Provenance()


def test_a_stack_notes_beside_what_others_noted() -> None:
    grey = np.arange(4 * 6 * 8, dtype=np.uint8).reshape(4, 6, 8)
    stack = stack_from_array(grey, (40.0, 4.0, 4.0), metadata={"camera": "A"}).noting(intensity_correction="clahe 0.01")
    assert stack.metadata == {"voxel_size_source": "argument", "camera": "A", "intensity_correction": "clahe 0.01"}
    assert stack.select([0, 2]).record.selected_slices == [0, 2]
    assert stack.record.more == {"camera": "A"}


def test_records_of_channels_or_of_the_one_there_is() -> None:
    one = StackRecord(intensity_correction="linear")
    assert one.by_channel == [one]
    two = StackRecord.from_json({"channels": [{"intensity_lines": [[1, 0]]}, {}]})
    assert [record.intensity_lines for record in two.by_channel] == [[[1, 0]], None]

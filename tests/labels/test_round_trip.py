"""Up to the volume, into a file, and back down to the slices: what was labelled comes back as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from napari_emgauss.labels import (
    CarriedLabels,
    CarryMethod,
    _carry as carrying,
    bring_back,
    export_labels,
    label_slices,
)
from napari_emgauss.volume import SourceSlices, grid_depths

from .conftest import TubeModel

METHODS: list[CarryMethod] = ["model", "distances", "nearest"]


def branching(z: float) -> list[tuple[int, float, float, float]]:
    """A tube that branches, one that ends, one that runs obliquely."""
    ends = [(5, 36.0, 12.0, 6.0)] if z < 10 else []
    return [(9, 12, 32 - z / 2, 6), (9, 12, 32 + z / 2, 6), (3, 34, 34 + z, 7), *ends]


def model_of(z_nm: list[float], **stack: Any) -> TubeModel:
    model = TubeModel(branching, depth=len(z_nm))
    model.z_nm = np.array(z_nm)
    model.provenance = {"stack": stack}
    return model


def up_and_down(model: TubeModel, labels: NDArray[Any], method: CarryMethod, path: Path, **options: Any) -> Any:
    """The slices of the source after labels went into a file on the isotropic grid and came back."""
    carried = CarriedLabels(label_slices(labels, model, **options), model, method=method)
    export_labels(carried, path)
    read = zarr.open_group(str(path), mode="r")["0"][:] if path.suffix == ".zarr" else tifffile.imread(path)
    slices = SourceSlices.of(model)
    return bring_back(read, grid_depths(model), slices.z_nm, offsets_px=slices.offsets_px)


@pytest.mark.parametrize("z_nm", [[0.0, 8.0, 16.0], [0.0, 6.6, 17.3]], ids=["even", "uneven"])
@pytest.mark.parametrize("parts", [False, True], ids=["whole", "in parts"])
@pytest.mark.parametrize("method", METHODS)
def test_labels_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: CarryMethod, parts: bool, z_nm: list[float]
) -> None:
    if parts:
        monkeypatch.setattr(carrying, "_BLOCK", 20)
        monkeypatch.setattr(carrying, "_HALO", 8)
    model = model_of(z_nm)
    labels = model.observed_labels()
    labels[1, 40, 60] = 4_000_000_000  # a single odd pixel that nothing but this slice holds
    np.testing.assert_array_equal(up_and_down(model, labels, method, tmp_path / "up.ome.tif"), labels)


@pytest.mark.parametrize("name", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool"])
@pytest.mark.parametrize("ending", [".ome.tif", ".ome.zarr"])
def test_labels_of_every_integer_type_come_back(tmp_path: Path, name: str, ending: str) -> None:
    model = model_of([0.0, 8.0, 16.0])
    labels = model.observed_labels().astype(name)
    if np.dtype(name).kind == "i":
        labels[0, :4, :4] = -7
    back = up_and_down(model, labels, "distances", tmp_path / f"up{ending}")
    np.testing.assert_array_equal(back.astype(np.int64), labels.astype(np.int64))


def test_a_left_out_slice_gets_what_the_volume_has_there(tmp_path: Path) -> None:
    model = model_of([0.0, 8.0, 24.0], left_out_slices=[2], left_out_z_nm=[16.0], selected_slices=[0, 1, 3])
    labels = np.insert(model.observed_labels(), 2, 77, axis=0)  # of the source: slice 2 was spoilt
    labels[2, 0, 0] = 0
    back = up_and_down(model, labels, "distances", tmp_path / "up.ome.tif")
    assert back.shape == labels.shape
    np.testing.assert_array_equal(back[[0, 1, 3]], labels[[0, 1, 3]])
    assert not (back[2] == 77).any()  # what was drawn on a spoilt slice is not used
    between = CarriedLabels(label_slices(labels, model), model, method="distances").render(16.0)
    np.testing.assert_array_equal(back[2], between)


def test_slices_that_were_moved_take_their_labels_with_them(tmp_path: Path) -> None:
    # Straightening took 2 rows off slice 1, and the fit found 3 columns more.
    model = model_of([0.0, 8.0, 16.0], jitter_removed_px=[[0, 0], [2.2, 0], [0, 0]])
    model.provenance["slice_shifts_px"] = [[0, 0], [0, -3.4], [0, 0]]
    straight = model.observed_labels()
    labels = straight.copy()
    labels[1] = np.roll(straight[1], (2, -3), axis=(0, 1))  # as it lies in the source; all tubes are away from edges
    carried = CarriedLabels(label_slices(labels, model), model, method="distances")
    np.testing.assert_array_equal(carried.render(model.z_nm), straight)
    np.testing.assert_array_equal(up_and_down(model, labels, "distances", tmp_path / "up.ome.tif"), labels)


def test_labels_of_the_whole_source_suit_a_model_of_a_part() -> None:
    model = model_of([0.0, 8.0, 16.0], region=[10, 58, 5, 69], selected_slices=[2, 3, 4], shape_in_file=[9, 80, 90])
    whole = np.full((9, 80, 90), 50_000, np.uint16)
    whole[2:5, 10:58, 5:69] = model.observed_labels()
    found = label_slices(whole, model)
    np.testing.assert_array_equal(np.stack([found.image(k) for k in range(3)]), model.observed_labels())
    assert label_slices(whole, model, labelled="2,4").labelled == (0, 2)
    np.testing.assert_array_equal(
        label_slices(model.observed_labels(), model).image(1), model.observed_labels()[1]
    )  # of the part alone


def test_thousands_of_ids_come_back(tmp_path: Path) -> None:
    rows, columns = np.indices((48, 64)) // 1
    model = model_of([0.0, 8.0, 16.0])
    labels = np.stack([(rows * 64 + columns + k * 5000).astype(np.uint32) for k in range(3)])  # each pixel its own
    np.testing.assert_array_equal(up_and_down(model, labels, "distances", tmp_path / "up.ome.tif"), labels)

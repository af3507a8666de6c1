"""Carried labels in a process of their own give what the library gives, and follow edits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_emgauss._errors import StackError
from napari_emgauss.plugin.process._problem import ChildFailedError
from napari_emgauss.plugin.process._remote_labels import FittedLabels, RemoteLabels
from napari_emgauss.plugin.process._remote_model import RemoteModel

EVERY = (0, 24, 0, 32)


def squares() -> np.ndarray:
    """Slices 0, 2 and 4 are labelled: a square that moves, another that ends."""
    values = np.zeros((5, 24, 32), np.uint16)
    for k in (0, 2, 4):
        values[k, 4:12, 4 + k : 14 + k] = 300
    values[0, 14:22, 20:30] = 7
    return values


@pytest.fixture
def model(service: Any, model_file: Path) -> RemoteModel:
    return RemoteModel.open(service, model_file)


def of(values: np.ndarray, **options: Any) -> FittedLabels:
    return FittedLabels(values, range(len(values)), EVERY, "mine", **options)


def test_the_process_gives_what_the_library_gives(model: RemoteModel, model_file: Path) -> None:
    from napari_emgauss.labels import CarriedLabels, label_slices
    from napari_emgauss.tiles import load

    values = squares()
    remote = RemoteLabels(of(values), model, "distances", device="cpu")
    assert remote.labelled == (0, 2, 4) and remote.dtype == np.uint16
    here = load(model_file, device="cpu")
    carried = CarriedLabels(label_slices(values, here), here, method="distances")
    np.testing.assert_array_equal(remote.render([0.0, 30.0, 100.0]), carried.render([0.0, 30.0, 100.0]))
    part = {"region": (2.0, 20.0, 4.0, 28.0), "shape": (9, 12)}
    np.testing.assert_array_equal(remote.render(30.0, **part), carried.render(30.0, **part))
    np.testing.assert_array_equal(remote.nearest([30.0])[0], values[0])  # slices 0 and 2 lie at 0 and 80 nm

    edited = values.copy()
    edited[2] = 0
    edited[2, 10:20, 2:12] = 9
    before = remote.version
    assert not remote.update(of(values)) and remote.version == before
    assert remote.update(of(edited)) and remote.version > before
    again = CarriedLabels(label_slices(edited, here), here, method="distances")
    np.testing.assert_array_equal(remote.render([60.0, 80.0]), again.render([60.0, 80.0]))

    remote._child._process.kill()
    remote._child._process.join()
    np.testing.assert_array_equal(remote.render(80.0), edited[2])


def test_labels_that_cannot_be_carried_are_told_in_a_sentence(model: RemoteModel) -> None:
    values = squares()
    values[2:] = 0
    with pytest.raises(StackError, match="“mine” has one labelled slice"):
        RemoteLabels(of(values), model, "nearest")
    remote = RemoteLabels(of(squares()), model, "nearest")
    with pytest.raises(StackError, match="label at least two"):
        remote.update(of(values))
    assert remote.labelled == (0, 2, 4)
    np.testing.assert_array_equal(remote.nearest([160.0])[0], squares()[4])
    with pytest.raises(StackError, match="a different shape or type"):
        remote.update(of(squares().astype(np.int32)))


def test_slices_may_be_named_and_parts_of_a_layer_taken(model: RemoteModel) -> None:
    whole = np.zeros((7, 30, 40), np.uint8)
    whole[[0, 2, 3, 4, 6]] = np.arange(1, 6, dtype=np.uint8)[:, None, None]
    source = FittedLabels(whole, (0, 2, 3, 4, 6), (3, 27, 4, 36), "mine", chosen="0,1,3,6")
    remote = RemoteLabels(source, model, "nearest")
    assert remote.labelled == (0, 2, 4)  # slice 1 was left out of the fit
    assert np.unique(remote.nearest([80.0])).tolist() == [3]


def test_a_process_that_cannot_work_says_why(model: RemoteModel) -> None:
    remote = RemoteLabels(of(squares()), model, "distances", device="cpu")
    Path(remote._order.model_path).unlink()
    with pytest.raises(ChildFailedError):
        remote.render(30.0)


def test_slices_that_were_moved_take_their_labels_with_them(model: RemoteModel) -> None:
    values = squares()
    offsets = np.array([[0, 0], [0, 0], [1.2, -3.4], [0, 0], [0, 0]])
    lying_off = values.copy()
    lying_off[2] = np.roll(values[2], (1, -3), axis=(0, 1))
    remote = RemoteLabels(of(lying_off, offsets_px=offsets), model, "distances", device="cpu")
    np.testing.assert_array_equal(remote.render(80.0), values[2])
    np.testing.assert_array_equal(remote.nearest([80.0])[0], values[2])
    edited = lying_off.copy()
    edited[2, 20, 20] = 9
    assert remote.update(of(edited, offsets_px=offsets))
    assert remote.render(80.0)[19, 23] == 9


def test_a_save_that_was_killed_leaves_an_image_as_it_was(model: RemoteModel, model_file: Path, tmp_path: Path) -> None:
    from napari_emgauss.plugin.process._labels_child import LabelsExport
    from napari_emgauss.tiles import load
    from napari_emgauss.volume import export

    image = tmp_path / "iso.ome.zarr"
    export(load(model_file, device="cpu"), image)
    before = sorted(path.name for path in image.iterdir())
    remote = RemoteLabels(of(squares()), model, "distances", device="cpu")
    job = remote.export_job(LabelsExport(str(image), "mine", None))
    (image / "labels").mkdir()  # the child came as far as that
    job._clean_up()
    assert sorted(path.name for path in image.iterdir()) == before
    (image / "labels" / "theirs").mkdir(parents=True)
    remote.export_job(LabelsExport(str(image), "mine", None))._clean_up()
    assert (image / "labels" / "theirs").is_dir()

"""Labels between labelled slices, against truths in closed form."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from napari_emgauss._errors import ConfigError, DepthError, StackError
from napari_emgauss.labels import CarriedLabels, CarryMethod, _carry as carrying, label_slices
from napari_emgauss.volume import LazyVolume

from .conftest import TubeModel

METHODS: list[CarryMethod] = ["model", "distances", "nearest"]


def carried(model: TubeModel, method: CarryMethod = "model", **options: Any) -> CarriedLabels:
    return CarriedLabels(label_slices(model.observed_labels(), model, **options), model, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_labelled_slices_come_back_bit_for_bit(oblique: TubeModel, method: CarryMethod) -> None:
    labels = oblique.observed_labels()
    labels[1, 3, 5] = 4_000_000_000  # one odd pixel, and an id beyond 31 bits
    found = CarriedLabels(label_slices(labels, oblique), oblique, method=method)
    np.testing.assert_array_equal(found.render(oblique.z_nm), labels)
    assert found.render(8.0).dtype == np.uint32


@pytest.mark.parametrize("method", METHODS)
def test_straight_tubes_are_the_same_at_every_depth(straight: TubeModel, method: CarryMethod) -> None:
    np.testing.assert_array_equal(carried(straight, method).render(3.0), straight.labels_at(3.0))


def test_a_moving_tube_is_followed(oblique: TubeModel) -> None:
    depths = [2.0, 4.0, 6.0, 10.0, 13.0]
    truth = np.stack([oblique.labels_at(z) for z in depths])
    wrong = {method: (carried(oblique, method).render(depths) != truth).mean() for method in METHODS}
    # Half of the tube's outline lies between pixels either way: 50 of 3,072 pixels.
    assert wrong["model"] < 0.012
    assert wrong["model"] < 0.7 * wrong["distances"] < 0.7 * wrong["nearest"]


def test_an_object_that_ends_in_a_gap_ends_in_it() -> None:
    model = TubeModel(lambda z: [(5, 24, 20, 9), *([(6, 24, 45, 8)] if z < 8 else [])])
    found = carried(model, "distances")
    areas = [int((found.render(z) == 6).sum()) for z in (0.0, 1.0, 2.0, 3.0, 5.0, 8.0)]
    assert areas[0] == int((model.labels_at(0.0) == 6).sum())
    assert areas[0] > areas[1] > areas[2] > areas[3] > 0
    assert areas[4] == areas[5] == 0
    np.testing.assert_array_equal(found.render(5.0) == 5, model.labels_at(5.0) == 5)


def test_a_branching_tube_keeps_its_id_in_both_branches() -> None:
    model = TubeModel(lambda z: [(9, 24, 32 - z, 7), (9, 24, 32 + z, 7)])
    image = carried(model).render(6.0)
    assert image[24, 26] == 9 and image[24, 38] == 9
    assert set(np.unique(image)) == {0, 9}


def test_thousands_of_ids_are_kept() -> None:
    rows, columns = np.indices((240, 240)) // 4
    labels = np.broadcast_to((rows * 60 + columns + 2**40).astype(np.uint64), (3, 240, 240))
    model = TubeModel(lambda z: [], size=(240, 240))
    found = CarriedLabels(label_slices(labels, model), model, method="distances").render(3.0)
    np.testing.assert_array_equal(found, labels[0])  # 3,600 squares that do not change


def test_background_is_a_label_and_unlabelled_is_none() -> None:
    model = TubeModel(lambda z: [(3, 24, 32, 10)])
    labels = model.observed_labels()
    labels[1, :, :32] = 99  # the left half of the middle slice was not looked at
    found = CarriedLabels(label_slices(labels, model, unlabelled=99), model, method="distances")
    # The slice above knows the left half, and nobody contradicts.
    np.testing.assert_array_equal(found.render(4.0), model.labels_at(4.0))
    assert (found.render(8.0)[:, :32] == 99).all()
    labels[0, :8, :8] = labels[1, :8, :8] = 99
    nowhere = CarriedLabels(label_slices(labels, model, unlabelled=99), model, method="distances").render(4.0)
    assert nowhere[2, 2] == 99


def test_only_labelled_slices_count(straight: TubeModel) -> None:
    model = TubeModel(straight.centres, depth=5)
    labels = model.observed_labels()
    labels[[0, 2, 4]] = 0
    labels[0] = labels[4] = 0
    found = CarriedLabels(label_slices(labels, model), model, method="distances")
    assert found.labels.labelled == (1, 3)
    np.testing.assert_array_equal(found.render(16.0), model.labels_at(16.0))  # slice 2 is not labelled, but known
    assert not found.render(4.0).any() and not found.render(30.0).any()  # before and behind nothing is known


def test_slices_that_the_model_left_out_are_left_out(straight: TubeModel) -> None:
    labels = np.insert(straight.observed_labels(), 1, 12345, axis=0)
    labels[1, 0, 0] = 0
    straight.provenance = {"stack": {"left_out_slices": [1], "left_out_z_nm": [4.0], "selected_slices": [0, 2, 3]}}
    found = label_slices(labels, straight)
    np.testing.assert_array_equal(np.stack([found.image(k) for k in range(3)]), straight.observed_labels())
    assert found.labelled == (0, 1, 2) and found.unused == (1,)
    assert label_slices(labels, straight, labelled="0-2").labelled == (
        0,
        1,
    )  # counted in the source
    with pytest.raises(StackError, match=r"one labelled slice that the model has \(it was fitted without 1\)"):
        label_slices(labels, straight, labelled=[0, 1])


def test_parts_of_large_slices_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    # Blobs of very different sizes, some of which end in the gap.
    seeds = rng.random((2, 40, 2)) * (150, 170)
    rows, columns = np.indices((150, 170))
    planes = []
    for k, drift in enumerate((0, 5)):
        distance = np.stack([np.hypot(rows - y - drift, columns - x) for y, x in seeds[0, : 40 - 6 * k]])
        planes.append(np.where(distance.min(0) < 22, distance.argmin(0) + 1, 0))
    labels = np.stack([planes[0], planes[1], planes[1]]).astype(np.int16)
    model = TubeModel(lambda z: [], size=(150, 170))
    whole = CarriedLabels(label_slices(labels, model), model, method="distances")
    monkeypatch.setattr(carrying, "_BLOCK", 40)
    monkeypatch.setattr(carrying, "_HALO", 110)
    parts = CarriedLabels(label_slices(labels, model), model, method="distances")
    assert not whole.has_parts and parts.has_parts
    for z in (1.0, 4.0, 6.0):
        np.testing.assert_array_equal(parts.render(z), whole.render(z))


def test_a_region_is_that_part_of_the_slice(oblique: TubeModel) -> None:
    found = carried(oblique, "distances")
    np.testing.assert_array_equal(found.render(3.0, region=(10, 40, 5, 30)), found.render(3.0)[10:40, 5:30])
    coarse = found.render(3.0, shape=(24, 32))
    np.testing.assert_array_equal(coarse, found.render(3.0)[1::2, 1::2])


def test_labels_are_seen_as_a_lazy_volume(oblique: TubeModel) -> None:
    found = carried(oblique, "distances")
    volume = LazyVolume(found)
    assert volume.shape == (17, 48, 64) and volume.dtype == np.uint32
    np.testing.assert_array_equal(np.asarray(volume[5]), found.render(5.0))
    assert copy.deepcopy(found) is found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels.astype(np.float32), "not labels"),
        (lambda labels: labels[:, :40], "has the shape 3 x 40 x 64"),
        (lambda labels: labels.transpose(1, 2, 0), "has the shape 48 x 64 x 3"),
        (lambda labels: np.stack([labels] * 3, axis=1), "as colour images do"),
        (lambda labels: labels[0], "has 2 axes"),
        (lambda labels: labels * 0, "no labelled slice"),
        (lambda labels: labels.astype(np.complex64), "complex64, not labels"),
        (lambda labels: labels * np.array([1, 0, 0], np.uint32)[:, None, None], "label at least two"),
    ],
)
def test_what_are_no_labels_is_refused(oblique: TubeModel, change: Any, message: str) -> None:
    with pytest.raises(StackError, match=message):
        label_slices(change(oblique.observed_labels()), oblique)


def test_what_cannot_be_is_refused(oblique: TubeModel) -> None:
    with pytest.raises(StackError, match="uint32, which has no value -1"):
        carried(oblique, unlabelled=-1)
    oblique.channels = 2
    with pytest.raises(ConfigError, match="2 channels"):
        carried(oblique)
    oblique.channels = 1
    with pytest.raises(ConfigError, match="choose one of model, distances, nearest"):
        carried(oblique, "linear")  # type: ignore[arg-type]
    with pytest.raises(DepthError, match="outside"):
        carried(oblique).render(17.0)


def test_labels_that_were_edited_share_what_still_holds(oblique: TubeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_emgauss.labels import _carry

    followed: list[int] = []
    really = _carry.gap_motion
    monkeypatch.setattr(_carry, "gap_motion", lambda *given: followed.append(1) or really(*given))
    values = oblique.observed_labels()
    before = CarriedLabels(label_slices(values, oblique), oblique)
    old = before.render([4.0, 12.0])
    edited = values.copy()
    edited[2, 2:8, 2:8] = 5
    after = before.relabelled(label_slices(edited, oblique), [2])
    assert after.version != before.version
    np.testing.assert_array_equal(
        after.render([4.0, 12.0]), CarriedLabels(label_slices(edited, oblique), oblique).render([4.0, 12.0])
    )
    # Two gaps of the first, none of the second, two of the one to compare with.
    assert len(followed) == 4
    np.testing.assert_array_equal(before.render([4.0, 12.0]), old)


def test_uneven_slices_weigh_by_their_depths(oblique: TubeModel) -> None:
    oblique.z_nm = np.array([0.0, 4.0, 16.0])  # the tube moves a pixel a nm
    depths = [2.0, 7.0, 10.0, 13.0]
    wrong = {
        m: (carried(oblique, m).render(depths) != np.stack([oblique.labels_at(z) for z in depths])).mean()
        for m in METHODS
    }
    assert wrong["model"] < 0.02
    assert wrong["model"] < wrong["distances"] < wrong["nearest"]


def test_negative_ids_are_ids(oblique: TubeModel) -> None:
    labels = np.where(oblique.observed_labels() == 3, -5, 0).astype(np.int16)
    found = CarriedLabels(label_slices(labels, oblique), oblique, method="distances")
    assert set(np.unique(found.render(4.0))) == {-5, 0}
    # The usual value of pixels that nobody has labelled is one of them.
    labels[1] = np.where(labels[1] == -5, 3, -1)
    found = CarriedLabels(label_slices(labels, oblique, unlabelled=-1), oblique, method="distances")
    assert set(np.unique(found.render([0.0, 4.0, 8.0]))) == {-5, -1, 0, 3}


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_pictures_of_every_type_guide_alike(oblique: TubeModel, dtype: str) -> None:
    """Motion and membranes are looked at in the unit range: 0 ... 255 where there is no more known."""
    wide = TubeModel(oblique.centres)
    if dtype == "uint16":
        grey = wide.grey_at
        wide.dtype = np.dtype(dtype)
        wide.grey_at = lambda z: grey(z).astype(np.uint16) * 257  # type: ignore[method-assign]
    seen: list[float] = []
    really = carrying.gap_motion

    def watched(images: Any, positions: Any) -> Any:
        seen.extend([float(images.min()), float(images.max())])
        return really(images, positions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carrying, "gap_motion", watched)
        found = carried(wide).render(4.0)
    low, high = min(seen), max(seen)
    grey_low, grey_high = int(oblique.grey_at(0).min()), int(oblique.grey_at(0).max())
    if dtype == "uint8":  # of the whole range of the type, so that slices are as bright as they are
        assert (low, high) == pytest.approx((grey_low / 255, grey_high / 255), abs=0.02)
    else:  # of what the slices hold
        assert low == pytest.approx(0, abs=0.03) and high == pytest.approx(1, abs=0.03)
    assert (found != oblique.labels_at(4.0)).mean() < 0.012

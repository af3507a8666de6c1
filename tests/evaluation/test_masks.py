from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from napari_emgauss import ConfigError
from napari_emgauss.evaluation import evaluate_masks
from napari_emgauss.evaluation._masks import boundary_band, soft_iou
from napari_emgauss.evaluation._sam2 import model_settings, structure_boxes
from napari_emgauss.stack import stack_from_array


def test_soft_iou_of_masks_is_the_usual_one():
    a, b = np.zeros((4, 6)), np.zeros((4, 6))
    a[:2], b[1:3] = 1, 1  # 6 shared of 18
    assert soft_iou(a, b) == pytest.approx(1 / 3)
    assert soft_iou(a, a) == 1
    assert soft_iou(a * 0, b * 0) == 1


def test_soft_iou_needs_no_threshold():
    truth = np.array([1.0, 1.0, 0.0, 0.0])
    assert soft_iou(np.array([0.8, 0.6, 0.1, 0.0]), truth) == pytest.approx(1.4 / 2.1)
    where = np.array([True, False, True, False])
    assert soft_iou(np.array([0.8, 0.6, 0.1, 0.0]), truth, where) == pytest.approx(0.8 / 1.1)


def test_boundary_band_lies_on_both_sides_of_the_outline():
    mask = np.zeros((9, 20), bool)
    mask[:, :10] = True
    band = boundary_band(mask, 2)
    assert np.flatnonzero(band[4]).tolist() == [8, 9, 10, 11]
    assert not boundary_band(np.ones((5, 5), bool)).any()


def tubes():
    """Dark tubes along z that wander, in noise: a structure that a forest learns at once, and its masks."""
    z, y, x = np.mgrid[:13, :40, :112].astype(np.float32)
    masks = np.zeros(z.shape, bool)
    for centre in (12, 34, 76, 100):
        masks |= np.hypot(y - 20 - 6 * np.sin(z / 4), x - centre) < 6
    noise = np.random.default_rng(0).normal(0, 12, masks.shape)
    values = np.clip(np.where(masks, 60, 180) + noise, 0, 255).astype(np.uint8)
    volume = stack_from_array(values, (5, 5, 5), allow_isotropic=True)
    labels = stack_from_array(masks.astype(np.uint8) * 255, (5, 5, 5), allow_isotropic=True)
    return volume, labels


def test_structures_survive_linear_better_than_nearest_and_truth_best():
    pytest.importorskip("sklearn")
    volume, masks = tubes()
    seen = []
    result = evaluate_masks(volume, masks, 4, methods=["nearest", "linear"], on_progress=seen.append)
    truth, linear, nearest = (result.methods[name] for name in ("truth", "linear", "nearest"))
    assert truth.agreement == 1
    assert truth.region > 0.8
    assert truth.region > linear.region > nearest.region
    assert truth.boundary > linear.boundary > nearest.boundary
    assert linear.agreement > nearest.agreement
    assert result.slices == 9
    assert result.columns == (112 // 2 + 16, 111)
    assert "region IoU" in result.table()
    assert seen[-1].fraction == 1


def test_masks_of_another_shape_are_refused():
    volume, _ = tubes()
    other = stack_from_array(np.zeros((13, 40, 100), np.uint8), (5, 5, 5), allow_isotropic=True, allow_damaged=True)
    with pytest.raises(ConfigError, match="must be equal"):
        evaluate_masks(volume, other, 4, methods=["linear"])


def test_masks_without_structure_are_refused():
    volume, _ = tubes()
    empty = stack_from_array(np.zeros((13, 40, 112), np.uint8), (5, 5, 5), allow_isotropic=True, allow_damaged=True)
    with pytest.raises(ConfigError, match="no structure"):
        evaluate_masks(volume, empty, 4, methods=["linear"])


def test_missing_sam2_weights_are_told(tmp_path):
    volume, masks = tubes()
    with pytest.raises(ConfigError, match="no SAM2 weights"):
        evaluate_masks(volume, masks, 4, methods=["linear"], sam2_weights=tmp_path / "sam2.1_hiera_tiny.pt")


def test_missing_sam2_is_told(tmp_path, monkeypatch):
    weights = tmp_path / "sam2.1_hiera_tiny.pt"
    weights.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "sam2", None)
    monkeypatch.setitem(sys.modules, "sam2.build_sam", None)
    volume, masks = tubes()
    with pytest.raises(ConfigError, match="SAM2 is not installed"):
        evaluate_masks(volume, masks, 4, methods=["linear"], sam2_weights=weights)


def test_sam2_gets_the_same_boxes_on_both_images(tmp_path, monkeypatch):
    """A stand-in with SAM2's interface, which calls dark pixels in the box the structure."""
    weights = tmp_path / "sam2.1_hiera_tiny.pt"
    weights.write_bytes(b"")
    asked = []

    class Predictor:
        def __init__(self, model):
            assert model == ("configs/sam2.1/sam2.1_hiera_t.yaml", str(weights))

        def set_image(self, image):
            assert image.dtype == np.uint8
            assert image.shape == (40, 40, 3)
            self.image = image[..., 0]

        def predict(self, *, box, multimask_output):
            assert multimask_output is False
            asked.append(tuple(box))
            x0, y0, x1, y1 = box.astype(int)
            found = np.zeros((1, *self.image.shape), np.float32)
            found[0, y0 : y1 + 1, x0 : x1 + 1] = self.image[y0 : y1 + 1, x0 : x1 + 1] < 120
            return found, np.ones(1), None

    build, predictor = types.ModuleType("sam2.build_sam"), types.ModuleType("sam2.sam2_image_predictor")
    build.build_sam2 = lambda settings, file, device: (settings, file)
    predictor.SAM2ImagePredictor = Predictor
    for name, module in (("sam2", types.ModuleType("sam2")), (build.__name__, build), (predictor.__name__, predictor)):
        monkeypatch.setitem(sys.modules, name, module)

    volume, masks = tubes()
    result = evaluate_masks(volume, masks, 4, methods=["linear"], sam2_weights=weights)
    assert result.methods["truth"].region > 0.9
    assert 0.3 < result.methods["linear"].agreement < 1
    half = len(asked) // 2
    assert asked[:half] == asked[half:]


def test_sam2_settings_follow_the_weights_name():
    assert model_settings("sam2.1_hiera_base_plus.pt") == "configs/sam2.1/sam2.1_hiera_b+.yaml"
    assert model_settings("sam2_hiera_large.pt") == "configs/sam2/sam2_hiera_l.yaml"
    with pytest.raises(ConfigError, match="under their own name"):
        model_settings("weights.pt")


def test_boxes_leave_specks_out():
    mask = np.zeros((30, 40), bool)
    mask[2:12, 5:15] = True
    mask[20, 30] = True
    assert [box.tolist() for box in structure_boxes(mask)] == [[5, 2, 14, 11]]

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_emgauss import StackError
from napari_emgauss.plugin.view._region import RegionKind, region_of


@pytest.fixture
def viewer() -> ViewerModel:
    found = ViewerModel()
    found.add_image(np.zeros((5, 24, 32), np.uint8), scale=(40, 4, 5), translate=(0, 100, 200), name="stack")
    return found


def test_whole(viewer: ViewerModel) -> None:
    assert region_of(RegionKind.WHOLE, viewer.layers[0], viewer) == (0, 24, 0, 32)


def test_rectangle_in_world_units(viewer: ViewerModel) -> None:
    # Rows 3 to 8 and columns 10 to 20 in pixels, drawn in a 2D layer without scale.
    rectangle = np.array([[112, 250], [112, 300], [132, 300], [132, 250]])
    shapes = viewer.add_shapes([rectangle], shape_type="rectangle")
    assert region_of(RegionKind.SHAPE, viewer.layers[0], viewer, shapes) == (3, 9, 10, 21)


def test_the_selected_shape_counts_and_is_clipped(viewer: ViewerModel) -> None:
    big = np.array([[0, 0], [0, 900], [900, 900], [900, 0]])
    small = np.array([[112, 250], [112, 300], [132, 300], [132, 250]])
    shapes = viewer.add_shapes([big, small], shape_type="rectangle")
    shapes.selected_data = {0}
    assert region_of(RegionKind.SHAPE, viewer.layers[0], viewer, shapes) == (0, 24, 0, 32)


def test_no_rectangle(viewer: ViewerModel) -> None:
    with pytest.raises(StackError, match="draw one in a Shapes layer"):
        region_of(RegionKind.SHAPE, viewer.layers[0], viewer, None)
    far = viewer.add_shapes([np.array([[0, 0], [0, 9], [9, 9], [9, 0]])], shape_type="rectangle")
    with pytest.raises(StackError, match="shows nothing of the stack"):
        region_of(RegionKind.SHAPE, viewer.layers[0], viewer, far)


def test_view_needs_the_xy_plane(viewer: ViewerModel) -> None:
    viewer.dims.order = (1, 0, 2)
    with pytest.raises(StackError, match="plain xy view"):
        region_of(RegionKind.VIEW, viewer.layers[0], viewer)

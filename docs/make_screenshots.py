"""Photograph the plugin in a real napari window, state by state.

    python docs/make_screenshots.py                       # the pictures of the documentation, into docs/images/
    python docs/make_screenshots.py --output DIR --scale 0.1
    python docs/make_screenshots.py --gif                 # the moving picture alone, docs/images/plugin-scrubbing.gif
    python docs/make_screenshots.py --model FILE          # with a model of the sample that is there already

Needs napari and a screen with OpenGL (``xvfb-run -a -s "-screen 0 1600x1000x24"`` will do). Pictures are 1280 by 800
pixels and show the generated sample, fitted here and now; ``--scale`` shortens the fit.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The user's own settings must neither be used nor changed.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "napari.yaml")
os.environ["NAPARI_EMGAUSS_UNFINISHED"] = tempfile.mkdtemp()
os.environ["NAPARI_EMGAUSS_PRIORS"] = tempfile.mkdtemp()

import napari
import numpy as np
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QScrollArea, QWidget

PLUGIN = "napari-emgauss"
SIZE = (1280, 800)
GIF_COLOURS, GIF_SCALE, GIF_FRAMES, GIF_MS = 64, 0.8, 32, 110
GIF_PART = (24, 560, 388)
"""Of the window: first and last row, first column."""
COLOURS = 256
"""Of the palette: grey images and a few accents need no more, and a picture stays below 300 KB."""


class Photographer:
    """A viewer with our dock, and where its pictures go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.viewer: Any = napari.Viewer()
        self.window.resize(*SIZE)
        self.settle()

    @property
    def window(self) -> Any:
        """The window itself: there is no public way to it."""
        return self.viewer.window._qt_window

    def settle(self, seconds: float = 0.4) -> None:
        """Let the window draw itself."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)
        # Without an event loop of the application's own, nothing else takes away widgets that have gone.
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)

    def wait(self, until: Callable[[], Any], seconds: float = 1800) -> None:
        """Run the event loop until something is true."""
        end = time.monotonic() + seconds
        while not until():
            QApplication.processEvents()
            time.sleep(0.005)
            if time.monotonic() > end:
                raise TimeoutError("the window did not get there")

    def dismiss(self) -> None:
        """Close napari's notifications: those of errors stay until somebody does."""
        for widget in self.window.findChildren(QWidget):
            if type(widget).__name__ == "NapariQtNotification":
                widget.close()
        self.settle()

    def tidy(self) -> None:
        """Have the window lay itself out anew: napari leaves traces of sliders that have gone."""
        for width in (SIZE[0] + 8, SIZE[0]):
            self.window.resize(width, SIZE[1])
            self.settle(0.2)

    def check(self) -> None:
        """Refuse to photograph a page that is cut off on the right.

        Raises
        ------
        RuntimeError
            A page of the dock is wider than the dock.
        """
        for page in self.window.findChildren(QScrollArea):
            inner, room = page.widget(), page.viewport().width()
            if page.isVisible() and type(page).__module__.startswith("napari_emgauss") and inner.width() > room:
                raise RuntimeError(f"{type(page).__name__} is {inner.width()} pixels wide, but has room for {room}")

    def take(self, name: str, widget: Any = None) -> None:
        """Photograph the window, or one widget, as ``NAME.png``."""
        self.tidy()
        self.settle()
        self.check()
        path = self.folder / f"{name}.png"
        if widget is None:
            self.viewer.screenshot(str(path), canvas_only=False, flash=False)
        else:
            widget.grab().save(str(path))
        shrink(path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} KB")


def shrink(path: Path) -> None:
    """Store a picture with a palette."""
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    picture.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)


def with_layer(photographer: Photographer) -> Any:
    """The sample with its dock, ready to fit."""
    viewer = photographer.viewer
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fit EMGauss")
    photographer.wait(lambda: dock.fit.method.device_info is not None)
    viewer.open_sample(PLUGIN, "phantom_stack")
    viewer.reset_view()
    return dock


def told(photographer: Photographer, dock: Any) -> None:
    """Wait for the estimate, and for the trial of this machine behind it."""
    photographer.settle(1)
    photographer.wait(lambda: dock.fit.method.plan is not None and "Measuring" not in dock.fit.method.cost.text(), 600)


def open_model(photographer: Photographer, path: Path) -> Any:
    """Open a model of the sample."""
    (layer,) = photographer.viewer.open(path, plugin=PLUGIN)
    layer.name = "phantom stack EMGauss"
    return layer


def damaged_slices(photographer: Photographer, dock: Any, source: Any) -> None:
    """A stack with a lost slice, a bad one and a fold, as the check and a mask see it."""
    viewer, values = photographer.viewer, np.array(source.data)
    values[5] = 0
    values[9] = np.clip(values[9].astype(int) // 3 + 150, 0, 255)
    look = {"scale": source.scale, "units": source.units, "axis_labels": source.axis_labels}
    damaged = viewer.add_image(values, name="damaged stack", contrast_limits=(0, 255), **look)
    mask = np.zeros(values.shape, np.uint8)
    rows, columns = np.mgrid[: values.shape[1], : values.shape[2]]
    mask[7][np.abs(rows - 0.6 * columns - 20) < 6] = 1
    folds = viewer.add_labels(mask, name="folds", **look)
    dock.fit.stack.chooser.layer = damaged
    dock.fit.slices_fold.expand(animate=False)
    form = dock.fit.slices
    form.masks.layer = folds
    form.check_button.click()
    photographer.wait(form.check_button.isEnabled, 120)
    form.skip_bad()
    viewer.dims.set_point(0, 280.0)
    photographer.take("plugin-slices")
    dock.fit.slices_fold.collapse(animate=False)
    viewer.layers.remove(folds)
    viewer.layers.remove(damaged)


def large_volume(photographer: Photographer, dock: Any, source: Any) -> None:
    """A volume that is fitted in tiles, and what that will take."""
    import dask.array

    viewer = photographer.viewer
    chunks = (1, *source.data.shape[1:])
    large = dask.array.tile(dask.array.from_array(np.array(source.data), chunks=chunks), (2, 8, 8))
    look = {"scale": source.scale, "units": source.units, "axis_labels": source.axis_labels}
    small = large[:, ::4, ::4]
    layer = viewer.add_image([large, small], multiscale=True, name="a block", contrast_limits=(0, 255), **look)
    dock.fit.stack.chooser.layer = layer
    dock.fit.method.tiles.setCurrentText("always")  # machines differ in what they hold in one piece
    viewer.reset_view()
    told(photographer, dock)
    photographer.take("plugin-tiles")
    dock.fit.method.tiles.setCurrentText("when needed")
    viewer.layers.remove(layer)
    viewer.reset_view()


def labels_carried(photographer: Photographer, dock: Any, source: Any, layer: Any) -> None:
    """The tab of labels when those of every fourth slice have been carried."""
    from scipy.ndimage import gaussian_filter
    from skimage.measure import label

    viewer, values = photographer.viewer, np.asarray(source.data)
    drawn = np.zeros(values.shape, np.uint16)
    bright = label(gaussian_filter(values.astype(float), 1.5) > 150)
    drawn[::4] = bright[::4]
    look = {"scale": source.scale, "translate": source.translate, "units": source.units}
    cells = viewer.add_labels(drawn, name="cells", axis_labels=source.axis_labels, **look)
    tab = dock.labels
    dock.tabs.setCurrentWidget(tab)
    tab.labels.layer, tab.continuous.layer = cells, layer
    tab.carry_button.click()
    photographer.wait(lambda: not tab.busy and "cells carried" in viewer.layers, 120)
    carried = viewer.layers["cells carried"]
    cells.visible = source.visible = False
    viewer.dims.set_point(0, 215.0)
    photographer.settle(1)
    photographer.wait(lambda: "labelled slices carried" in tab.status.text(), 600)
    photographer.take("plugin-labels", dock)
    source.visible = True
    viewer.layers.remove(carried)
    viewer.layers.remove(cells)


def patch_tried(photographer: Photographer, dock: Any, source: Any) -> None:
    """A patch beside linear interpolation and the stack."""
    viewer, panel = photographer.viewer, dock.fit.panel
    before = set(viewer.layers)
    photographer.wait(panel.patch_button.isEnabled, 120)
    panel.patch_button.click()
    session = dock.fit.session
    photographer.wait(lambda: not session.state.status.active)
    photographer.settle(2)
    photographer.take("plugin-patch")
    panel.next_steps.compare_button.click()
    for name in [one.name for one in viewer.layers if one not in before]:
        viewer.layers.remove(name)
    viewer.layers.selection.active = source
    viewer.reset_view()


def make_gif(photographer: Photographer, dock: Any, layer: Any) -> None:
    """The fitted layer, and linear interpolation right of it, while z is scrubbed."""
    from PIL import Image

    viewer = photographer.viewer
    dock.tabs.setCurrentWidget(dock.depth)
    dock.depth.chooser.layer = layer
    dock.depth.linear_button.click()
    for name in [one.name for one in viewer.layers if one.name not in (layer.name, "phantom stack linear")]:
        viewer.layers.remove(name)
    viewer.layers.selection.active = layer
    viewer.canvas.grid.enabled = True
    viewer.canvas.grid.shape = (1, 2)
    viewer.reset_view()
    frames = []
    for depth in np.concatenate([np.linspace(200, 360, GIF_FRAMES // 2), np.linspace(350, 210, GIF_FRAMES // 2)]):
        dock.depth.control.go_to(float(depth))
        photographer.settle(0.4)
        window = viewer.screenshot(canvas_only=False, flash=False)[..., :3]
        across, down = window.shape[1] / SIZE[0], window.shape[0] / SIZE[1]
        top, bottom, left = round(GIF_PART[0] * down), round(GIF_PART[1] * down), round(GIF_PART[2] * across)
        picture = Image.fromarray(np.ascontiguousarray(window[top:bottom, left:]))
        smaller = picture.resize((round(picture.width * GIF_SCALE), round(picture.height * GIF_SCALE)), Image.LANCZOS)
        frames.append(smaller)
    palette = frames[0].quantize(GIF_COLOURS, method=Image.Quantize.MEDIANCUT)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    path = photographer.folder / "plugin-scrubbing.gif"
    indexed[0].save(path, save_all=True, append_images=indexed[1:], duration=GIF_MS, loop=0, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


def main() -> int:
    """Walk through the plugin as a user does."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the iterations of the fit")
    parser.add_argument("--prior", default="auto:fast", help="prior of the fit")
    parser.add_argument("--model", type=Path, help="show this model of the sample after the pictures of the fit")
    parser.add_argument("--keep", type=Path, help="keep the model of the sample here, for --model")
    parser.add_argument("--gif", action="store_true", help="make the moving picture alone; needs --model")
    parser.add_argument("--labels", action="store_true", help="take the picture of the labels alone; needs --model")
    parser.add_argument("--skip-score", action="store_true", help="leave out the Quality tab's result")
    options = parser.parse_args()
    if (options.gif or options.labels) and options.model is None:
        parser.error("--gif and --labels need --model")
    photographer = Photographer(options.output)
    viewer, take, settle, wait = photographer.viewer, photographer.take, photographer.settle, photographer.wait
    if options.gif or options.labels:
        dock = with_layer(photographer)
        layer = open_model(photographer, options.model)
        if options.gif:
            make_gif(photographer, dock, layer)
        else:
            labels_carried(photographer, dock, viewer.layers[0], layer)
        viewer.close()
        return 0

    # A stack whose file says nothing of its voxel size.
    rough = viewer.add_image(np.random.default_rng(0).integers(0, 255, (9, 96, 128), np.uint8), name="unknown size")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fit EMGauss")
    wait(lambda: dock.fit.method.device_info is not None)
    take("plugin-unknown-voxel-size")
    viewer.layers.remove(rough)
    take("plugin-empty")

    viewer.open_sample(PLUGIN, "phantom_stack")
    source = viewer.layers[0]
    viewer.reset_view()
    told(photographer, dock)
    take("plugin-ready")
    dock.fit.method.advanced.expand(animate=False)
    take("plugin-advanced")
    dock.fit.method.advanced.collapse(animate=False)

    damaged_slices(photographer, dock, source)
    large_volume(photographer, dock, source)

    fields = dock.fit.method.settings.fields
    dock.fit.method.preset.setCurrentText("fast")
    if options.scale != 1:
        fields["iterations_scale"].setValue(options.scale)
    fields["prior"].setCurrentText(options.prior)
    told(photographer, dock)
    dock.fit.start_fit()
    session = dock.fit.session
    wait(lambda: session.model is not None or not session.state.status.active)
    viewer.dims.set_point(0, 275.0)
    wait(lambda: session.state.iteration > 0.5 * session.state.total_iterations or not session.state.status.active)
    take("plugin-fitting")
    session.pause()
    take("plugin-paused")
    session.resume()
    session.stop()
    wait(lambda: not session.state.status.active)
    wait(lambda: dock.fit.panel.resume_button.isVisible(), 60)
    take("plugin-resume")
    dock.fit.panel.resume_button.click()
    session = dock.fit.session
    wait(lambda: not session.state.status.active)
    take("plugin-finished")
    layer = viewer.layers[f"{source.name} EMGauss"]
    if options.keep is not None:
        layer.metadata["emgauss"].model.save(options.keep)
    patch_tried(photographer, dock, source)
    if options.model is not None:
        viewer.layers.remove(layer)
        layer = open_model(photographer, options.model)

    dock.tabs.setCurrentWidget(dock.depth)
    dock.depth.chooser.layer = layer
    dock.depth.control.go_to(275.0)
    take("plugin-depth")
    dock.depth.confidence_button.click()
    wait(lambda: len(viewer.layers) == 3, 60)
    take("plugin-confidence")
    viewer.layers.remove(viewer.layers[-1])
    dock.depth.error_button.click()
    wait(lambda: len(viewer.layers) == 3, 60)
    viewer.layers.selection.active = layer
    take("plugin-error-bars")
    viewer.layers.remove(viewer.layers[-1])
    viewer.dims.order = (1, 0, 2)
    viewer.reset_view()
    source.visible = False
    settle(3)
    take("plugin-xz-emgauss")
    source.visible, layer.visible = True, False
    take("plugin-xz-observed")
    source.visible, layer.visible = False, True
    viewer.dims.order = (0, 1, 2)
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    viewer.scene.camera.angles = (-20, 35, 120)
    settle(20)  # the volume is drawn coarse at first
    take("plugin-3d")
    viewer.dims.ndisplay = 2
    viewer.reset_view()
    source.visible = True
    dock.depth.linear_button.click()
    dock.depth.control.go_to(275.0)
    take("plugin-linear")
    dock.depth.difference_button.click()
    dock.depth.control.go_to(275.0)
    take("plugin-difference")
    for name in [one.name for one in viewer.layers if one not in (source, layer)]:
        viewer.layers.remove(name)
    viewer.layers.selection.active = layer

    dock.tabs.setCurrentWidget(dock.quality)
    take("plugin-quality-start")
    if not options.skip_score:
        dock.quality.start()
        wait(lambda: not dock.quality.running)
        take("plugin-quality")

    labels_carried(photographer, dock, source, layer)
    viewer.layers.selection.active = layer

    dock.tabs.setCurrentWidget(dock.export)
    take("plugin-export")
    with tempfile.TemporaryDirectory() as folder:
        dock.export.path.setText(f"{folder}/isotropic.ome.tif")
        dock.export.start()
        wait(lambda: not dock.export.running)
        dock.export.path.setText("isotropic.ome.tif")
        photographer.dismiss()
        take("plugin-exported")

    dialog = dock.show_log()
    take("plugin-log", dialog)
    dialog.close()
    dock.tabs.setCurrentWidget(dock.fit)
    dock.fit.region.first.setValue(dock.fit.region.last.value() - 1)
    dock.fit.start_fit()
    take("plugin-refused")
    dock.fit.region.first.setValue(0)
    viewer.theme = "light"
    dock.tabs.setCurrentWidget(dock.depth)
    photographer.dismiss()
    take("plugin-light")
    viewer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

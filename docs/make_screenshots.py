"""Photograph the plugin in a real napari window, state by state.

    python docs/make_screenshots.py                       # the pictures of the documentation, into docs/images/
    python docs/make_screenshots.py --output DIR --scale 0.1

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

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

PLUGIN = "napari-emgauss"
SIZE = (1280, 800)
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

    def wait(self, until: Callable[[], Any], seconds: float = 1800) -> None:
        """Run the event loop until something is true."""
        end = time.monotonic() + seconds
        while not until():
            QApplication.processEvents()
            time.sleep(0.005)
            if time.monotonic() > end:
                raise TimeoutError("the window did not get there")

    def take(self, name: str, widget: Any = None) -> None:
        """Photograph the window, or one widget, as ``NAME.png``."""
        self.settle()
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


def main() -> int:
    """Walk through the plugin as a user does."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the iterations of the fit")
    parser.add_argument("--prior", default="auto:fast", help="prior of the fit")
    parser.add_argument("--skip-score", action="store_true", help="leave out the Quality tab's result")
    options = parser.parse_args()
    photographer = Photographer(options.output)
    viewer, take, settle, wait = photographer.viewer, photographer.take, photographer.settle, photographer.wait

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
    take("plugin-ready")
    dock.fit.method.advanced.expand(animate=False)
    take("plugin-advanced")
    dock.fit.method.advanced.collapse(animate=False)

    fields = dock.fit.method.settings.fields
    dock.fit.method.preset.setCurrentText("fast")
    if options.scale != 1:
        fields["iterations_scale"].setValue(options.scale)
    fields["prior"].setCurrentText(options.prior)
    dock.fit.start_fit()
    session = dock.fit.session
    wait(lambda: session.model is not None or not session.state.status.active)
    viewer.dims.set_point(0, 275.0)
    wait(lambda: (session.state.fraction or 0) > 0.5 or not session.state.status.active)
    take("plugin-fitting")
    session.pause()
    take("plugin-paused")
    session.resume()
    wait(lambda: not session.state.status.active)
    take("plugin-finished")
    layer = viewer.layers[f"{source.name} EMGauss"]

    dock.tabs.setCurrentWidget(dock.depth)
    dock.depth.control.go_to(275.0)
    take("plugin-depth")
    viewer.dims.order = (1, 0, 2)
    viewer.reset_view()
    source.visible = False
    take("plugin-xz-emgauss")
    source.visible, layer.visible = True, False
    take("plugin-xz-observed")
    source.visible, layer.visible = False, True
    viewer.dims.order = (0, 1, 2)
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    viewer.scene.camera.angles = (-20, 35, 120)
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

    dock.tabs.setCurrentWidget(dock.export)
    take("plugin-export")
    with tempfile.TemporaryDirectory() as folder:
        dock.export.path.setText(f"{folder}/isotropic.ome.tif")
        dock.export.start()
        wait(lambda: not dock.export.running)
        dock.export.path.setText("isotropic.ome.tif")
        settle(6)  # napari's notification goes
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
    take("plugin-light")
    viewer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

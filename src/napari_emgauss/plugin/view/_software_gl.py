"""Whether OpenGL is done by the processor, where a view in 3D costs seconds that a fit wants, too."""

from __future__ import annotations

import functools
import logging
from typing import Any

LOGGER = logging.getLogger("napari_emgauss.plugin")

_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swr", "swiftshader", "software", "gdi generic", "basic render")


@functools.cache
def draws_in_software() -> bool:
    """Ask OpenGL itself, once, in the window's thread and with a window there; False where it does not say."""
    try:
        name = _renderer()
    except Exception as error:  # a cheaper picture is not worth an error
        LOGGER.info("OpenGL does not say who draws: %s", error)
        return False
    LOGGER.info("OpenGL is drawn by %s", name)
    return is_software(name)


def _renderer() -> str:
    """What OpenGL calls itself, in a context that nothing is drawn in; a canvas of vispy's would run the event loop."""
    from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
    from vispy.gloo import gl

    before = QOpenGLContext.currentContext()
    drawn_on = None if before is None else before.surface()
    surface, context = QOffscreenSurface(), QOpenGLContext()
    surface.create()
    if not context.create() or not context.makeCurrent(surface):
        raise RuntimeError("no context")
    try:
        return str(gl.glGetParameter(gl.GL_RENDERER))
    finally:
        context.doneCurrent()
        if before is not None and drawn_on is not None:
            before.makeCurrent(drawn_on)


def is_software(renderer: str) -> bool:
    """Whether a renderer, by the name that OpenGL gives it, is the processor."""
    return any(word in renderer.lower() for word in _SOFTWARE)


def draw_cheaply(layer: Any) -> None:
    """Have a layer drawn in 3D from the nearest voxels, a third of the work, unless somebody has chosen otherwise."""
    # Labels have no such choice: they are always drawn from the nearest voxels.
    if str(getattr(layer, "interpolation3d", "nearest")) == "linear" and not layer.metadata.get(_DONE):
        layer.metadata[_DONE] = True  # who wants linear back in this layer can have it
        layer.interpolation3d = "nearest"


_DONE = "emgauss_drawn_cheaply"

"""Splats to images: one function :func:`splat` with several backends, and the model that renders with it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

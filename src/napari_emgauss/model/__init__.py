"""Canonical Gaussians, deformation field, their settings, and the saved form."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

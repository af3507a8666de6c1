"""Volumes larger than memory and machines: tiles and depth windows, fitted apart, rendered as one model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Stacks of slices at physical depths: what they are, how they are read, and a generated sample."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

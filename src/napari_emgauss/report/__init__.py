"""A report of a result as one page: pictures, scores, resolution, provenance and a paragraph on methods."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

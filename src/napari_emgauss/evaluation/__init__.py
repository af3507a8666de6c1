"""Evaluation: metrics, reconstruction of left-out slices against the truth, and the hold-out score of a stack.

Names are resolved on first use: importing this package imports neither torch nor scikit-image.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

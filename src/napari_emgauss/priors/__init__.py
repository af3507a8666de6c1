"""Priors: ways to guess the slice at any depth of a stack, and the pure functions under them.

A prior makes the pseudo-labels of the teacher-student stage; the same objects are the baselines of ``evaluate``.
Names are resolved lazily: importing this package imports neither torch nor SciPy.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

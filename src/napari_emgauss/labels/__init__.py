"""Labels that travel with a volume: between labelled slices, and from the isotropic volume back."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

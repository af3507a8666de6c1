"""What devices can do, and steps that do not wait for them: the one place that knows about accelerators."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

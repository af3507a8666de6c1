"""Layers: what napari shows of a model, and where it lies."""

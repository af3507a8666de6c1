"""The napari plugin: everything that knows Qt or napari.

Nothing heavy happens in napari's own process. Fitting, scoring and exporting each run in a spawned process
(:mod:`._process`), and slices are rendered by one more (:mod:`._render_service`), so that the window neither imports
torch nor holds GPU memory, and a renderer that dies does not take napari with it. Child processes import this package,
so this file imports nothing.
"""

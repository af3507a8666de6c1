"""Child processes and what the window asks of them: no Qt and no napari here."""

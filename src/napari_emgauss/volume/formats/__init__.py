"""One writer a file: isotropic volumes on disk."""

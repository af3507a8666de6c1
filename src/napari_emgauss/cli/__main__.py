"""``python -m napari_emgauss.cli``: the ``emgauss`` command where its script is not on the path."""

import sys

from napari_emgauss.cli import main

if __name__ == "__main__":
    sys.exit(main())

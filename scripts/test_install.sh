#!/bin/sh
# Builds wheel and source archive and installs them into clean environments, as users do: the core alone (no Qt, no
# napari), from the wheel and from the source archive, and with napari and a Qt. Takes minutes and some gigabytes.
#
#   sh scripts/test_install.sh [FOLDER]     # default: a temporary one, removed afterwards
#
# PYTHON is the Python to build with (it needs the package build). A QT of pyqt6 (default) or pyside6 comes with napari.
# PARTS of "core gui" (default) are done. PIP_CONSTRAINT, which pip reads, may name a smaller torch than the usual one.
set -eu

python=${PYTHON:-python}
if [ $# -gt 0 ]; then
    work=$1
    mkdir -p "$work"
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
root=$(pwd)
rm -rf "$work/dist"
"$python" -m build --outdir "$work/dist" . > "$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
wheel=$(ls "$work"/dist/*.whl)
archive=$(ls "$work"/dist/*.tar.gz)
echo "built $(basename "$wheel") and $(basename "$archive")"

fresh() { # NAME REQUIREMENT: a new environment with what the requirement brings
    rm -rf "${work:?}/$1"
    "$python" -m venv "$work/$1"
    "$work/$1/bin/python" -m pip install --quiet --disable-pip-version-check "$2"
}

use_core() { # NAME: the command line from sample to volume, in a folder that is not the checkout
    (
        cd "$work"
        bin=$work/$1/bin
        "$bin/python" - <<'PY'
from importlib.util import find_spec

import napari_emgauss

found = [name for name in ("napari", "magicgui", "PyQt5", "PyQt6", "PySide2", "PySide6") if find_spec(name)]
assert not found, f"the core brought {found}"
assert "site-packages" in napari_emgauss.__file__
PY
        "$bin/emgauss" doctor > /dev/null
        rm -f stack.ome.tif model.safetensors volume.ome.tif
        "$bin/emgauss" sample -o stack.ome.tif
        "$bin/emgauss" fit stack.ome.tif -o model.safetensors --preset fast --prior linear --iterations-scale 0.02 --quiet
        "$bin/emgauss" export model.safetensors -o volume.ome.tif --spacing 40
    )
}

case " ${PARTS:-core gui} " in *" core "*)
fresh core "$wheel"
use_core core
echo "core: the wheel fits and exports without Qt and napari"

"$work/core/bin/python" -m pip uninstall --quiet --yes napari-emgauss
"$work/core/bin/python" -m pip install --quiet --disable-pip-version-check "$archive"
use_core core
echo "core: so does the source archive"
;; esac

case " ${PARTS:-core gui} " in *" gui "*)
fresh gui "$wheel"
"$work/gui/bin/python" -m pip install --quiet --disable-pip-version-check "napari[${QT:-pyqt6},optional-base]>=0.9"
(
    cd "$work"
    "$work/gui/bin/python" -m npe2 validate napari-emgauss
    sh "$root/scripts/run_with_screen.sh" "$work/gui/bin/python" - <<'PY'
import napari

viewer = napari.Viewer(show=False)
viewer.open_sample("napari-emgauss", "phantom_stack")
_, widget = viewer.window.add_plugin_dock_widget("napari-emgauss")
print(f"gui: {type(widget).__name__} opens beside '{viewer.layers[0].name}' in napari {napari.__version__}")
viewer.close()
PY
)
;; esac

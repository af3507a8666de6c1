#!/bin/sh
# The plugin's tests with PySide6 in place of PyQt6, in an environment of its own.
#
#   sh scripts/test_pyside.sh FOLDER [what pytest is to run]
#
# TORCH_INDEX names an index to take torch from, such as that of its CPU builds.
set -eu

folder=$1
shift
[ $# -gt 0 ] || set -- tests/plugin
sh scripts/make_environment.sh "$folder"
pip="$folder/bin/python -m pip --disable-pip-version-check"
[ -z "${TORCH_INDEX:-}" ] || $pip install --quiet torch --index-url "$TORCH_INDEX"
$pip install --quiet -c constraints.txt -e ".[test]"
$pip uninstall --quiet --yes PyQt6 PyQt6-Qt6 PyQt6_sip
$pip install --quiet -c constraints.txt "napari[pyside6]"
export QT_API=pyside6 PYTEST_QT_API=pyside6
exec sh scripts/run_with_screen.sh "$folder/bin/python" -m pytest "$@"

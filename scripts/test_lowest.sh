#!/bin/sh
# Tests of the core with the lowest versions that pyproject.toml allows, in an environment of its own.
#
#   sh scripts/test_lowest.sh FOLDER [what pytest is to run]
#
# torch is the CPU build of the lowest version, from the index that uv knows. TORCH="torch==2.13.0+cpu" takes that one in
# its place, and FIND_LINKS names a folder of wheels to find it in, where that index cannot be reached. What old libraries warn of is theirs; what breaks is ours.
set -eu

folder=$1
shift
if [ $# -eq 0 ]; then
    set -- tests/stack tests/model tests/render tests/priors tests/fit tests/tiles tests/volume tests/evaluate tests/test_cli.py
fi

if [ ! -x "$folder/bin/python" ]; then
    sh scripts/make_environment.sh "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check uv
fi
uv="$folder/bin/python -m uv"
options="--resolution lowest-direct"
if [ -n "${TORCH:-}" ]; then
    echo "$TORCH" > "$folder/overrides.txt"
    options="$options --override $folder/overrides.txt"
else
    options="$options --torch-backend cpu"
    torch_backend="--torch-backend cpu"
fi
if [ -n "${FIND_LINKS:-}" ]; then
    options="$options --find-links $FIND_LINKS"
fi
# The versions that were found to be the lowest stay in the folder, to be looked at or used again.
# shellcheck disable=SC2086
$uv pip compile --quiet $options --python "$folder/bin/python" --extra test pyproject.toml -o "$folder/lowest.txt"
# shellcheck disable=SC2086
$uv pip install --quiet ${torch_backend:-} --python "$folder/bin/python" ${FIND_LINKS:+--find-links "$FIND_LINKS"} -r "$folder/lowest.txt"
$uv pip install --quiet --python "$folder/bin/python" --no-deps --no-build-isolation --editable .
exec sh scripts/run_with_screen.sh "$folder/bin/python" -m pytest -W default -p no:cacheprovider "$@"

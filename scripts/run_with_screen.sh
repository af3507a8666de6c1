#!/bin/sh
# Runs a command with a screen for Qt: Xvfb where it is installed, else the screen there is, else none ("offscreen").
set -eu

config=$(mktemp -d)
trap 'rm -rf "$config"' EXIT
export NAPARI_CONFIG="$config/napari.yaml" # napari keeps settings between runs; tests must not see or change the user's
export LP_NUM_THREADS=1                    # software OpenGL must not take the cores that the fit computes on

if command -v xvfb-run >/dev/null 2>&1 && command -v xauth >/dev/null 2>&1; then
    xvfb-run -a -s "-screen 0 1600x1000x24" "$@"
else
    if [ "$(uname -s)" = Linux ] && [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
        export QT_QPA_PLATFORM=offscreen
    fi
    "$@"
fi

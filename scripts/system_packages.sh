#!/bin/sh
# What Qt and napari's canvas need of a Linux system without a desktop. Installed only where something is missing and we
# are root on Debian or Ubuntu; elsewhere it is said, and the tests that need a window are skipped with a reason.
set -eu

packages="xvfb xauth libgl1 libegl1 libgl1-mesa-dri libglib2.0-0 libdbus-1-3 libfontconfig1 libxkbcommon-x11-0
libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcb-randr0 libxcb-shape0 libxcb-xkb1
libx11-xcb1"

command -v dpkg-query >/dev/null 2>&1 || exit 0

missing=
for package in $packages; do
    # From Debian 13 and Ubuntu 24.04 on, libglib2.0-0 is libglib2.0-0t64, which "provides" the old name.
    if ! dpkg-query -W -f='${Status}\n' "$package" "${package}t64" 2>/dev/null | grep -q 'ok installed'; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    echo "Installing$missing"
    # shellcheck disable=SC2086  # a list of words
    {
        apt-get install -y --no-install-recommends $missing ||
            { apt-get update && apt-get install -y --no-install-recommends $missing; }
    } >/dev/null 2>&1 || echo "Could not install$missing: tests that open a window will be skipped" >&2
else
    echo "Tests that open a window need: sudo apt-get install$missing" >&2
fi

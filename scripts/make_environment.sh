#!/bin/sh
# Makes a virtual environment at $1 with the first Python on the path that is new enough.
set -eu
venv=$1

suits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

python=
for candidate in ${PYTHON:-} python3 python python3.13 python3.12 python3.11; do
    if suits "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "No Python 3.11 or newer was found: install one from python.org, or name it: make PYTHON=/path/to/python" >&2
    exit 2
fi

if [ -x "$venv/bin/python" ] || [ -x "$venv/Scripts/python.exe" ]; then
    exit 0 # made before, by hand or by an earlier version of the Makefile
fi
# Debian and Ubuntu ship Python without venv; say what to install, and install it where we may.
if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        apt-get install -y --no-install-recommends python3-venv >/dev/null
    else
        echo "$python has no venv module: on Debian or Ubuntu run 'sudo apt-get install python3-venv', then try again" >&2
        exit 2
    fi
fi
echo "Making $venv with $("$python" --version)"
"$python" -m venv "$venv"

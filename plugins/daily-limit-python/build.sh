#!/bin/sh
# Builds daily-limit.wasm with componentize-py, which carries CPython. PYTHON names another Python,
# VENV another place for componentize-py.
set -eu
cd "$(dirname "$0")"

PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "No Python 3.10 or newer. Install it from https://python.org, or: apt-get install python3 python3-venv" >&2
    exit 1
fi
if ! [ -x "$VENV/bin/componentize-py" ]; then
    echo "installing what requirements.txt names into $VENV (once)"
    if ! "$PYTHON" -m venv "$VENV"; then
        echo "Python has no venv here; on Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
    "$VENV/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
fi

"$VENV/bin/componentize-py" -d wit -w filter componentize -p src rule -o daily-limit.wasm

#!/bin/sh
# Makes .venv and installs the project into it with one of its extras: `bootstrap.sh demo` or `bootstrap.sh dev`.
set -eu
extra=${1:?which extra: demo or dev}
cd "$(dirname "$0")/.."

with_uv() {
    command -v uv >/dev/null 2>&1 || return 1
    [ -x .venv/bin/python ] || UV_PYTHON_DOWNLOADS=never uv venv --quiet --python '>=3.11,<3.14' .venv || return 1
    uv pip install --quiet --python .venv/bin/python -c constraints.txt -e ".[$extra]"
}

with_pip() {
    python=${PYTHON:-python3}
    if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
        echo "error: $python is no Python 3.11 to 3.13; install one, or name it: make PYTHON=python3.11 …" >&2
        exit 1
    fi
    # An environment that uv made has no pip.
    .venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$extra]"
}

# uv knows nothing of pip's settings (a registry of one's own, certificates): pip may reach what uv does not.
with_uv || with_pip

# What the tests need is more than what the demo needs.
touch .venv/.demo
if [ "$extra" = dev ]; then touch .venv/.dev; fi

#!/usr/bin/env bash
# Makes .venv with everything that Turnout, its tests and its checks need, from the locks by hash.
# Costs a blink when nothing changed; a virtual environment that is out of date, half made, moved or
# broken is made anew, because mending one leaves what nobody can reproduce.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/system-packages.sh

# Two `make` at once must not both make it. Where there is no flock (macOS) they are on their own.
exec 9<pyproject.toml
if command -v flock >/dev/null; then flock 9; fi

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do
        if "$name" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "Turnout needs Python 3.11 or newer with its venv module; install it, or name it: PYTHON=... make setup" >&2
    return 1
}

# The venv's own paths are in it, so where it lies is part of what it was made from.
fingerprint() { { pwd && cat requirements/*.lock pyproject.toml tools/setup.sh; } | cksum; }

stamp=.venv/turnout-setup
if [[ -f $stamp && $(<"$stamp") == "$(fingerprint)" ]] && .venv/bin/python -c 'import pytest' 2>/dev/null; then
    exit 0
fi

python=$(find_python)
echo "Making .venv with $("$python" --version)"
"$python" -m venv --clear .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check -qq install)
# The build backend first: etcd3 comes as source only, and building it (and Turnout itself) without
# isolation keeps pip from fetching a builder that no lock names. --use-pep517 is today's pip's only
# way; the pip that Debian's Python brings needs to be asked.
"${pip[@]}" --require-hashes -r requirements/build.lock
"${pip[@]}" --require-hashes --no-build-isolation --use-pep517 -r requirements/dev.lock
"${pip[@]}" --no-deps --no-build-isolation --editable .
.venv/bin/python -m pip check
fingerprint >"$stamp"

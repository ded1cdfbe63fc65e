#!/usr/bin/env bash
# Writes the locks anew from pyproject.toml: the newest versions it allows, every file of them by hash,
# for all platforms. No host and no path gets in, so they install from any mirror.
# `make lock` keeps pins that still fit; `make lock ARGS=--upgrade` takes the newest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Not after `make setup` in any case: with a dependency that no lock has yet, that would not end well.
[[ -x .venv/bin/pip-compile ]] || tools/setup.sh

export CUSTOM_COMPILE_COMMAND="make lock"
compile() {
    .venv/bin/pip-compile --quiet --generate-hashes --no-strip-extras --allow-unsafe \
        --no-emit-index-url --no-emit-trusted-host --no-emit-find-links "$@"
}
compile --only-build-deps --all-build-deps --output-file requirements/build.lock "$@" pyproject.toml
compile --output-file requirements/runtime.lock "$@" pyproject.toml
compile --extra dev --extra sim --constraint requirements/build.lock --constraint requirements/runtime.lock \
    --output-file requirements/dev.lock "$@" pyproject.toml

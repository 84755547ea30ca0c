#!/bin/sh
# Writes the two lock files: every version and hash, with markers for Python 3.11 to 3.13, no addresses.
set -eu
uv=$1
options="--universal --python-version 3.11 --quiet --no-header --no-annotate --no-emit-index-url --generate-hashes"
$uv pip compile $options pyproject.toml -o requirements.lock
$uv pip compile $options --group dev pyproject.toml -c requirements.lock -o requirements-dev.lock

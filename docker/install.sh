#!/usr/bin/env bash
# What the images install, and any clean machine: docker/install.sh FOLDER [EXTRAS]
# FOLDER becomes a virtual environment with pc3d in it, from the pinned versions of constraints.txt.
# TORCH_INDEX: where to find a torch without CUDA; without it torch comes from the usual package index, which
# has the build for CUDA. PYTHON: the interpreter, python3 by default.
set -euo pipefail

if [ $# -lt 1 ]; then
  echo "usage: $0 FOLDER [EXTRAS]" >&2
  exit 2
fi
venv=$(realpath -m "$1")
extras=${2:-teacher,odometry,las,ros,onnx}
cd "$(dirname "$0")/.."
"${PYTHON:-python3}" -m venv "$venv"
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir -c constraints.txt)
"${pip[@]}" ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
"${pip[@]}" ".[$extras]"

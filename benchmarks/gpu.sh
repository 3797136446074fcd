#!/usr/bin/env bash
# What one modern GPU must show, in at most six minutes; fetches nothing, needs `pip install '.[train,test]'`.
#
#   benchmarks/gpu.sh [PYTHON]
#
# Without a GPU the same is done on the CPU with small images, and it says so.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${1:-python3}
export PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH}
"$PYTHON" -m pytest -m gpu -rs tests/gpu
"$PYTHON" -m benchmarks.gpu

#!/usr/bin/env bash
# Makes a virtual environment with fastai, timm, transformers and SetFit, apart from that of tlkeras: 6.6 GB, mostly PyTorch's CUDA libraries.
#
#     bash benchmarks/opponents/setup.sh FOLDER
#     python benchmarks/recipes.py … --opponents FOLDER/bin/python
set -euo pipefail
if [ $# -ne 1 ]; then
  echo "error: expected the folder to make; received $# arguments" >&2
  exit 2
fi
python3 -m venv "$1"
"$1/bin/python" -m pip install --quiet -r "$(dirname "$0")/requirements.txt"

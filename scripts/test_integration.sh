#!/usr/bin/env bash
# test_integration.sh MXQ: the program against the packages that people load models with (scripts/setup.sh --peers).
set -euo pipefail
cd "$(dirname "$0")/.."
mxq=$(realpath "$1")
export MXQ_BIN=$mxq MXQ_BUILD=$(dirname "$mxq")
export MXQ_SHARED=${MXQ_SHARED:-$PWD/../shared}
export MXQ_SMOLLM2_GGUF=${MXQ_SMOLLM2_GGUF:-$PWD/build/models/SmolLM2-135M-Instruct.Q4_1.gguf}
export HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1
python=build/venv/bin/python
status=0
for test in tests/integration/*_peer.py; do
  echo "== $(basename "$test")"
  "$python" "$test" || status=1
done
# The RSS contract on a model of 4 GiB, made on the fly.
echo "== 4 GiB model"
(cd tests/e2e && MXQ_LARGE_MODEL_GIB=4 "../../$python" -m unittest -v real_model_test.LargeModel) || status=1
exit $status

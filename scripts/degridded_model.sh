#!/usr/bin/env bash
# degridded_model.sh MXQ: the copy of SmolLM2-135M on which quality is measured, in build/models/degrid (20 minutes, once).
# The published GGUF's weights lie on a 4-bit grid, which flatters 4-bit schemes.
set -euo pipefail
cd "$(dirname "$0")/.."
mxq=$1
shared=${MXQ_SHARED:-$PWD/../shared}
gguf=build/models/SmolLM2-135M-Instruct.Q4_1.gguf
model=build/models/degrid

if [[ -e $model/tokenizer.json ]]; then exit; fi
if [[ ! -e $model/model.safetensors ]]; then
  echo "taking the weights of $gguf off their grid (some 20 minutes)"
  build/venv/bin/python "$shared/tools/degrid.py" "$gguf" "$shared/data/smollm2-reference/wikitext2-test-joined.i32" "$model"
fi
tokenizer=$(mktemp -d)
trap 'rm -rf "$tokenizer"' EXIT
"$mxq" dequantize "$gguf" -o "$tokenizer/plain" --quiet >/dev/null
cp "$tokenizer"/plain/{tokenizer_config.json,special_tokens_map.json,tokenizer.json} "$model"

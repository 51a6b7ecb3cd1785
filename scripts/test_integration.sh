#!/usr/bin/env bash
# test_integration.sh BUILD: the program against the packages that people load models with (scripts/setup.sh --peers).
# A check whose peer or data is missing fails the run. WITHOUT=gptqmodel leaves out the one peer that takes some GB.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(realpath "$1")
export MXQ_BIN=$build/mxq
export MXQ_SHARED=${MXQ_SHARED:-$PWD/../shared}
export MXQ_SMOLLM2_GGUF=${MXQ_SMOLLM2_GGUF:-$PWD/build/models/SmolLM2-135M-Instruct.Q4_1.gguf}
export HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1
python=$PWD/build/venv/bin/python
cmake --build "$build" --target safetensors_copy gguf_tokenizer gguf_floats

failed=() left_out=()
missing() {  # missing CHECK WHY
  echo "== $1: not checked, $2"
  failed+=("$1: $2")
}
check() {
  echo "== $1"
  shift
  "$@" || failed+=("$*")
}
check "safetensors: the official package" \
  "$python" tests/integration/safetensors_peer.py "$build/tests/integration/safetensors_copy"
check "files of torch.save: every dtype and view, models, programs in pickles" \
  "$python" tests/integration/torch_peer.py "$MXQ_BIN"
check "NF4 and FP4: bitsandbytes" "$python" tests/integration/bitsandbytes_peer.py "$MXQ_BIN"
check "GGUF: weights and logits as transformers loads them" \
  "$python" tests/integration/gguf_peer.py "$MXQ_SMOLLM2_GGUF" "$MXQ_BIN"
qwen=$PWD/build/models/Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf gemma=$PWD/build/models/gemma-3-270m-Q4_K_M.gguf
check "GGUF: every type of blocks, split files and real K-quants as the gguf package reads them" \
  "$python" tests/integration/gguf_blocks_peer.py "$build/tests/integration/gguf_floats" "$qwen" "$gemma"
check "GGUF in parts, as the gguf package splits models" \
  "$python" tests/integration/gguf_split_peer.py "$MXQ_SMOLLM2_GGUF" "$MXQ_BIN"
check "GGUF in K-quants: weights and logits as transformers loads them" \
  "$python" tests/integration/gguf_peer.py "$qwen" "$MXQ_BIN"
llama_perplexity=$PWD/build/peers/llama.cpp/build/bin/llama-perplexity
if [[ -x $llama_perplexity ]]; then
  check "GGUF of every architecture that mxq writes: logits of llama.cpp" \
    "$python" tests/integration/llama_cpp_peer.py "$MXQ_BIN" "$llama_perplexity"
  if [[ -d $MXQ_SHARED/data ]]; then
    check "GGUF of real models: perplexity of llama.cpp" "$python" tests/integration/llama_cpp_peer.py "$MXQ_BIN" "$llama_perplexity" \
      "$MXQ_SHARED/data/wikitext-2/test-joined.txt" "$MXQ_SMOLLM2_GGUF" "$qwen" "$gemma"
  fi
else
  missing "GGUF files in llama.cpp" "no llama-perplexity (scripts/setup.sh --llama)"
fi
check "GGUF of every architecture: weights and logits of the model that was converted" \
  "$python" tests/integration/gguf_architectures_peer.py "$MXQ_BIN"
if [[ -d $MXQ_SHARED/data ]]; then
  check "tokenizer files rebuilt from GGUF: ids of tokenizers and llama.cpp" \
    "$python" tests/integration/tokenizer_peer.py "$build/tests/integration/gguf_tokenizer" "$MXQ_SHARED/data" "$MXQ_SMOLLM2_GGUF"
else
  missing "tokenizer files" "no reference data at $MXQ_SHARED (set MXQ_SHARED)"
fi
check "tokenizer.json and the files beside it: ids of AutoTokenizer" \
  "$python" tests/integration/tokenizer_config_peer.py "$MXQ_BIN" --count 400
check "rules for words of GGUF, and Unigram: ids of tokenizers" \
  "$python" tests/integration/tokenizer_rules_peer.py "$MXQ_BIN" --gguf-tokenizer "$build/tests/integration/gguf_tokenizer" \
  --shared "$MXQ_SHARED/data"
check "patterns that split text: Oniguruma" "$python" tests/integration/oniguruma_peer.py "$MXQ_BIN"
check "the page of a report in Chromium" env MXQ_PYTHON="$python" "$python" tests/integration/report_page.py "$MXQ_BIN"
check "every field of transformers' configurations" "$python" tests/integration/config_fields_peer.py "$MXQ_BIN"
check "every architecture, quantized and brought back" "$python" tests/integration/architectures_peer.py "$MXQ_BIN"
check "models as transformers saves them" "$python" tests/integration/saved_models_peer.py "$MXQ_BIN"
newer=build/transformers5-venv/bin/python
if [[ -x $newer ]]; then
  only=(qwen3_5_text qwen3_5_moe_text)  # which transformers 4 does not have
  check "models as transformers 5 saves them" "$newer" tests/integration/saved_models_peer.py "$MXQ_BIN"
  check "fields of transformers 5's configurations" "$newer" tests/integration/config_fields_peer.py "$MXQ_BIN" "${only[@]}"
  check "architectures of transformers 5, quantized and brought back" \
    "$newer" tests/integration/architectures_peer.py "$MXQ_BIN" "${only[@]}"
  check "GGUF of architectures of transformers 5" \
    "$newer" tests/integration/gguf_architectures_peer.py "$MXQ_BIN" "${only[@]}"
  if [[ -x $llama_perplexity ]]; then
    check "GGUF of architectures of transformers 5: logits of llama.cpp" \
      "$newer" tests/integration/llama_cpp_peer.py "$MXQ_BIN" "$llama_perplexity" "${only[@]}"
  fi
else
  missing "transformers 5" "not installed (scripts/setup.sh --transformers5)"
fi
if [[ -x build/mlx-venv/bin/python ]]; then
  check "folders for MLX: logits and text of mlx-lm" \
    build/mlx-venv/bin/python tests/integration/mlx_peer.py "$MXQ_BIN" "$MXQ_SMOLLM2_GGUF" "$gemma"
else
  missing "folders for MLX" "not installed (scripts/setup.sh --mlx)"
fi
if [[ -x build/compressed-tensors-venv/bin/python ]]; then
  check "folders for compressed-tensors: weights, logits and text of transformers" \
    build/compressed-tensors-venv/bin/python tests/integration/compressed_tensors_peer.py "$MXQ_BIN" "$MXQ_SMOLLM2_GGUF"
else
  missing "folders for compressed-tensors" "not installed (scripts/setup.sh --compressed-tensors)"
fi
if [[ -x build/onnx-venv/bin/python ]]; then
  check "folders for onnxruntime: logits and text of onnxruntime and onnxruntime-genai" \
    build/onnx-venv/bin/python tests/integration/onnx_peer.py "$MXQ_BIN" "$MXQ_SMOLLM2_GGUF" "$qwen" "$gemma"
else
  missing "folders for onnxruntime" "not installed (scripts/setup.sh --onnx)"
fi
if [[ -x build/gptq-venv/bin/python ]]; then
  check "folders for GPTQ and AWQ: weights, logits and text of GPTQModel and transformers" \
    build/gptq-venv/bin/python tests/integration/gptq_folders_peer.py "$MXQ_BIN" "$MXQ_SMOLLM2_GGUF"
elif [[ ${WITHOUT:-} == gptqmodel ]]; then
  left_out+=("folders for GPTQ and AWQ (WITHOUT=gptqmodel)")
else
  missing "folders for GPTQ and AWQ" "not installed (make setup-gptqmodel; WITHOUT=gptqmodel leaves it out)"
fi
check "experts in MXFP4 in transformers" "$python" tests/integration/mxfp4_peer.py "$MXQ_BIN"
check "dequantized checkpoints in transformers" "$python" tests/integration/transformers_peer.py
if [[ -d $MXQ_SHARED/data ]]; then
  peer=$(mktemp -d)
  trap 'rm -rf "$peer"' EXIT
  "$MXQ_BIN" dequantize "$MXQ_SMOLLM2_GGUF" -o "$peer/model" --quiet >/dev/null
  head -c 800000 "$MXQ_SHARED/data/wikitext-2/test-joined.txt" >"$peer/calibration.txt"
  tail -c 400000 "$MXQ_SHARED/data/wikitext-2/test-joined.txt" >"$peer/text.txt"
  check "GPTQ as published: a plain loop over the paper's algorithm" \
    "$python" tests/integration/gptq_by_definition.py "$MXQ_BIN" "$peer/model" "$peer/calibration.txt"
  if [[ -x build/gptq-venv/bin/python ]]; then
    calibrated=(--scheme b4g128 --sequences 24)  # at b3g128 it takes more pairs: scripts/gptq_pairs.sh
    check "GPTQ as published: perplexity of gptqmodel" \
      build/gptq-venv/bin/python tests/integration/gptq_peer.py "$MXQ_BIN" "$peer/model" "$peer/calibration.txt" "$peer/text.txt" \
      "${calibrated[@]}" --pairs 4 --jobs 2 --windows 32 --keep "$peer/package"
    check "gptqmodel: the same loop" \
      "$python" tests/integration/gptq_by_definition.py "$MXQ_BIN" "$peer/model" "$peer/package/calibration.txt" "${calibrated[@]}" \
      --package "$peer/package"
  elif [[ ${WITHOUT:-} == gptqmodel ]]; then
    left_out+=("GPTQ as published: gptqmodel (WITHOUT=gptqmodel)")
  else
    missing "GPTQ as published: gptqmodel" "not installed (make setup-gptqmodel; WITHOUT=gptqmodel leaves it out)"
  fi
else
  missing "GPTQ as published" "no reference data at $MXQ_SHARED"
fi
if [[ -d $MXQ_SHARED/data ]]; then
  check "what calibrated fits gain on SmolLM2-135M" "$python" tests/integration/calibrated_fits.py
else
  missing "what calibrated fits gain" "no reference data at $MXQ_SHARED"
fi
check "experiments on SmolLM2-135M, killed five times and shared by two processes" \
  env -C tests/e2e MXQ_BENCH_MODEL="$MXQ_SMOLLM2_GGUF" "$python" -m unittest -v bench_test.Survival
check "a model of 4 GiB within the memory contract" \
  env -C tests/e2e MXQ_LARGE_MODEL_GIB=4 "$python" -m unittest -v real_model_test.LargeModel
check "a mixture that stays in its files while it is quantized" "$python" tests/integration/larger_than_memory.py "$MXQ_BIN"

if ((${#failed[@]})); then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
if ((${#left_out[@]})); then
  printf 'passed; left out as asked: %s\n' "${left_out[@]}"
else
  echo "all integration tests passed"
fi

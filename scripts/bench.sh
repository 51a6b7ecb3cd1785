#!/usr/bin/env bash
# bench.sh BUILD: every side-by-side benchmark, one after another; bench/README.md explains the columns.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
export MXQ_SHARED=${MXQ_SHARED:-$PWD/../shared}
# Threads that wait in a spin lose whole time slices to whatever else runs; both sides sleep instead.
export OMP_WAIT_POLICY=passive
model=build/models/SmolLM2-135M-Instruct.Q4_1.gguf
python=build/venv/bin/python

echo "== solver: ours against HiGHS, the authors' tables and hard synthetic ones"
"$build/bench/bench_solver" --highs "${HIGHS_SECONDS:-60}"
echo
echo "== fits: ours against the hqq package"
"$python" bench/fit_vs_hqq.py "$build/bench/bench_fit" "$model"
echo
echo "== NF4 and FP4: ours against bitsandbytes"
"$python" bench/nf4_vs_bitsandbytes.py "$build/bench/bench_fit" "$model"
echo
echo "== reading GGUF's types of blocks, one core, beside memcpy"
"$build/bench/bench_read"
echo
echo "== SmolLM2-135M to 3.25 bits, nothing cached"
"$python" bench/quantize_smollm2.py "$build/mxq" "$model"
echo
echo "== forecasts of seconds and memory beside what was taken"
"$python" bench/forecast.py "$build/mxq" "$model" 1
echo
echo "== perplexity: mxq eval against transformers and llama-perplexity"
"$python" bench/eval_vs_peers.py "$build/mxq" "$model"
echo
echo "== what plans are worth: KL divergence against uniform schemes"
"$python" bench/quality.py "$build/mxq" "$model" --quick

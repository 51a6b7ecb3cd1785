#!/usr/bin/env bash
# quality.sh MXQ: every figure of docs/quality.md (printed) and its pictures (docs/quality/). Stopped, it goes on where it was.
# WINDOWS: of 512 tokens, 64 unless given; PARTS: of bench/quality.py, all unless given.
set -euo pipefail
cd "$(dirname "$0")/.."
mxq=$1
windows=${WINDOWS:-64}
export MXQ_SHARED=${MXQ_SHARED:-$PWD/../shared}
# Threads that wait in a spin lose whole time slices to whatever else runs.
export OMP_WAIT_POLICY=passive
python=build/venv/bin/python
model=build/models/degrid
out=build/quality

mkdir -p "$out"
scripts/degridded_model.sh "$mxq"
"$python" bench/quality.py "$mxq" "$model" --windows "$windows" --out "$out/results.json" ${PARTS:+--parts "$PARTS"}
if [[ ! ${PARTS:-} ]]; then
  # The published file, whose weights lie on a grid.
  gguf=build/models/SmolLM2-135M-Instruct.Q4_1.gguf
  "$python" bench/quality.py "$mxq" "$gguf" --windows "$windows" --few --out "$out/gguf.json" --parts headline,published
  "$python" bench/texts.py "$MXQ_SHARED/data/wikitext-2/test-joined.txt" "$out"
  "$python" bench/predicted_kl.py "$mxq" "$model" --text "$out/scored.txt" --windows "$windows" --out "$out/plans.json" -- --fit mse
  "$mxq" measure "$model" --sensitivity -o "$out/errors.csv"
  "$python" bench/quality_plots.py docs/quality --windows "$windows" --results "$out/results.json" --plans "$out/plans.json" \
    --errors "$out/errors.csv"
  "$python" bench/authors_ranking.py "$mxq"
fi

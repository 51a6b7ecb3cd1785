#!/usr/bin/env bash
# results.sh MXQ: makes docs/results.md and docs/img from examples/results.toml, and pictures of the report's page (installs Chromium).
# Stopped, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
mxq=$1
shared=${MXQ_SHARED:-$PWD/../shared}
export MXQ_PYTHON=$PWD/build/venv/bin/python
# Threads that wait in a spin lose whole time slices to whatever else runs.
export OMP_WAIT_POLICY=passive
model=build/models/degrid
out=build/results

mkdir -p "$out"
scripts/degridded_model.sh "$mxq"
"$MXQ_PYTHON" bench/texts.py "$shared/data/wikitext-2/test-joined.txt" "$out"
"$mxq" bench examples/results.toml
"$mxq" quantize "$model" --uniform b3g64 --fit mse --normalize none -o "$out/packed" --overwrite --quiet >/dev/null
"$mxq" report "$out/results.db" -o "$out/report" --foreign "$shared/data/mxq-paper" --checkpoint "$out/packed" --title "mxq: results" \
  --markdown docs/results.md --introduction examples/results-introduction.md
mkdir -p docs/img
for figure in frontier-smollm2 methods-smollm2 degradation-smollm2 degradation-llama-2-7b-hf-wikitext duration-smollm2 weights-authors \
  allocation-smollm2-135m-mxq-3-2765 allocation-authors packing; do
  cp "$out"/report/figures/$figure*.svg docs/img/
done
# The page itself, in a browser.
scripts/setup.sh --browser
"$MXQ_PYTHON" scripts/screenshots.py "$out/report/index.html" docs/img
ls docs/img

#!/usr/bin/env bash
# gptq_pairs.sh MXQ: perplexity of `--fit autogptq` over gptqmodel's on the de-gridded SmolLM2-135M, SCHEME (b3g128), calibrated on PAIRS (24)
# parts of WikiText-2 that are not scored (one pair says little at 3 bits). Two at a time: 75 minutes on two cores with AVX2.
set -euo pipefail
cd "$(dirname "$0")/.."
mxq=$1
shared=${MXQ_SHARED:-$PWD/../shared}
export OMP_WAIT_POLICY=passive
out=build/gptq-pairs

scripts/degridded_model.sh "$mxq"
build/venv/bin/python bench/texts.py "$shared/data/wikitext-2/test-joined.txt" "$out"
build/gptq-venv/bin/python tests/integration/gptq_peer.py "$mxq" build/models/degrid "$out/unscored.txt" "$out/scored.txt" \
  --scheme "${SCHEME:-b3g128}" --sequences 24 --pairs "${PAIRS:-24}" --jobs 2 --windows 32

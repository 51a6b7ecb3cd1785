#!/usr/bin/env bash
# run_tests.sh BUILD: every test of a build folder, ending with ctest's own closing lines.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
export MXQ_SHARED=${MXQ_SHARED:-$PWD/../shared}
export MXQ_SMOLLM2_GGUF=${MXQ_SMOLLM2_GGUF:-$PWD/build/models/SmolLM2-135M-Instruct.Q4_1.gguf}
# libomp is not built with ThreadSanitizer; its own locks are understood through archer.
export TSAN_OPTIONS=${TSAN_OPTIONS:-ignore_noninstrumented_modules=1}
exec ctest --test-dir "$build" --output-on-failure -j "$(nproc)"

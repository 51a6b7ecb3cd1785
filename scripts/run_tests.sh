#!/usr/bin/env bash
# run_tests.sh BUILD [CTEST OPTION...]: every test of a build folder, ending with ctest's own closing lines.
# Without ctest options it also fails where the folder has fewer tests than the sources define, and where a test was
# skipped for a reason that tests/allowed_skips.txt does not list: no run passes because it had nothing to check.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
export MXQ_SHARED=${MXQ_SHARED:-$PWD/../shared}
export MXQ_SMOLLM2_GGUF=${MXQ_SMOLLM2_GGUF:-$PWD/build/models/SmolLM2-135M-Instruct.Q4_1.gguf}
if grep -qx 'MXQ_SANITIZE:.*=thread' "$build/CMakeCache.txt"; then
  export TSAN_OPTIONS=${TSAN_OPTIONS:-ignore_noninstrumented_modules=1}  # oneDNN
fi
run=(ctest --test-dir "$build" --no-tests=error --output-on-failure -j "$(nproc)" "${@:2}")
if (($# > 1)); then exec "${run[@]}"; fi

defined=$(tests/count_tests.sh)
found=$(ctest --test-dir "$build" -N | sed -n 's/^Total Tests: //p')
if ((found < defined)); then
  echo "run_tests: $build has $found tests, the sources define at least $defined: is it configured with MXQ_TESTS=ON and built?" >&2
  exit 1
fi
"${run[@]}"
tests/check_skips.sh "$build/Testing/Temporary/LastTest.log"

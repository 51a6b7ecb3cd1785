#!/usr/bin/env bash
# How many tests there must be at least, counted in the sources: each TEST of a unit test (a TEST_P is one or more), each
# file of end-to-end tests, each fuzz corpus, and the tests of layers, run_tests and the installation.
set -euo pipefail
cd "$(dirname "$0")/.."
unit=$(grep -rhE '^(TYPED_)?TEST(_F|_P)?\(' --include='*_test.cc' src | wc -l)
end_to_end=$(find tests/e2e -name '*_test.py' | wc -l)
replayed=$(grep -c '^mxq_fuzz_target(' fuzz/CMakeLists.txt)
echo $((unit + end_to_end + replayed + 4))

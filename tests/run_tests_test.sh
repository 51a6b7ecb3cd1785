#!/usr/bin/env bash
# run_tests_test.sh SOURCE_DIR: no run of the tests passes that had nothing to check.
set -euo pipefail
cd "$1"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
must_fail() {  # must_fail SAYING COMMAND...
  local saying=$1 said
  shift
  if said=$("$@" 2>&1); then echo "passed, and should not have: $*"; exit 1; fi
  if [[ $said != *"$saying"* ]]; then echo "does not say '$saying': $said"; exit 1; fi
}

# A folder that is configured without tests, or was never built.
printf 'MXQ_SANITIZE:STRING=\n' >"$work/CMakeCache.txt"
must_fail "has 0 tests" scripts/run_tests.sh "$work"
must_fail "No tests were found" scripts/run_tests.sh "$work" -L unit

# A skip for a reason that nobody has allowed; one that is allowed passes.
printf 'a_test.cc:1: Skipped\nthe file was not fetched\n\ntest_b (c.D.test_b) ... skipped "no peer"\n' >"$work/log"
must_fail "the file was not fetched" tests/check_skips.sh "$work/log"
must_fail "no peer" tests/check_skips.sh "$work/log"
printf 'a_test.cc:1: Skipped\nbf16: no AVX-512\n\ntest_b (c.D.test_b) ... ok\n' >"$work/log"
tests/check_skips.sh "$work/log"

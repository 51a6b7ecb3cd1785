#!/bin/sh
# fuzz/run.sh SECONDS [NAME...]: builds the fuzz preset and runs each target (or those named) for SECONDS, starting
# from fuzz/corpus/NAME. New inputs go to build/fuzz/corpus/NAME, crashes to build/fuzz/crash/NAME; to keep a find,
# copy its file into fuzz/corpus/NAME, where the replay test runs it ever after. To merge new coverage, minimised:
#   build/fuzz/fuzz/fuzz_NAME -merge=1 fuzz/corpus/NAME build/fuzz/corpus/NAME
set -eu
seconds=${1:?usage: fuzz/run.sh SECONDS [NAME...]}
shift
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- $(sed -n 's/^mxq_fuzz_target(\([a-z0-9_]*\) .*/\1/p' fuzz/CMakeLists.txt)

cmake --preset fuzz
targets=
for name in "$@"; do targets="$targets fuzz_$name"; done
cmake --build build/fuzz --target $targets

status=0
for name in "$@"; do
  found=build/fuzz/corpus/$name
  crash=build/fuzz/crash/$name
  mkdir -p "$found" "$crash"
  echo "== $name, $seconds s"
  # One OpenMP thread: the fuzzer counts branches, and threads would make the counts wander.
  OMP_NUM_THREADS=1 build/fuzz/fuzz/fuzz_$name -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$crash/" "$found" "fuzz/corpus/$name" || status=1
done
exit $status

#!/usr/bin/env bash
# layers_test.sh SOURCE_DIR: fails when an include points up the layers of DESIGN (CONTRIBUTING.md lists them).
set -euo pipefail
cd "$1"

# layer: what it may include (besides itself and "mxq/...", the public headers)
declare -A below=(
  [base]=""
  [format]="base"
  [allocate]="base"
  [kernels]="base"
  [schemes]="kernels format base"
  [model]="schemes kernels format base"
  [evaluate]="model schemes kernels format base"
  [calibrate]="evaluate model schemes kernels format base"
  [export]="model schemes kernels format base"
  [jobs]="export calibrate evaluate model schemes kernels allocate format base"
  [harness]="jobs export calibrate evaluate model schemes kernels allocate format base"
  [cli]=""
)
failures=0
for folder in src/*/; do
  layer=$(basename "$folder")
  if [[ ! -v below[$layer] ]]; then
    echo "src/$layer is not a known layer: add it to tests/layers_test.sh and CONTRIBUTING.md"
    failures=1
    continue
  fi
  allowed=" $layer mxq ${below[$layer]} "
  # Unit tests may also look at what is below them, never above.
  while IFS=: read -r file line include; do
    target=${include#*\"}
    target=${target%%/*}
    [[ $target == hwy || $allowed == *" $target "* ]] && continue
    echo "$file:$line: layer $layer must not include ${include#*\"}"
    failures=1
  done < <(grep -rnE '^ *#include "[a-z_]+/' --include='*.cc' --include='*.h' "$folder")
done
# A device is known by runner.h alone, but to its own folder and to the list of devices.
while IFS=: read -r file line include; do
  target=${include#*\"}
  target=${target%%\"*}
  [[ $target == model/runner/runner.h || $file == src/model/runner/make_runner.cc ]] && continue
  [[ $file == "src/${target%/*}/"* ]] && continue
  echo "$file:$line: include model/runner/runner.h, not $target"
  failures=1
done < <(grep -rnE '^ *#include "model/runner/' --include='*.cc' --include='*.h' src bench fuzz)
# What a user names as an output goes through OutputFile or OutputFolder (include/mxq/output.h), in every command.
while IFS=: read -r file line _; do
  echo "$file:$line: commands write through OutputFile and OutputFolder only"
  failures=1
done < <(grep -rnE '\b(write_file|AtomicFile|std::ofstream|fopen|remove_all)\b' --include='*.cc' --include='*.h' src/cli)
# Public headers stand alone.
while IFS=: read -r file line include; do
  [[ $include == *'"mxq/'* ]] && continue
  echo "$file:$line: a public header may include public headers only"
  failures=1
done < <(grep -rnE '^ *#include "' --include='*.h' include/mxq)
exit $failures

#!/usr/bin/env bash
# check_skips.sh LOG: fails where ctest's log of all tests names a skipped test whose reason is not in allowed_skips.txt.
set -euo pipefail
log=$(realpath "$1")
cd "$(dirname "$0")"
allowed=(allowed_skips.txt)
# The reference data is not everybody's. Where it is there, nothing that needs it may be skipped.
[[ -d ${MXQ_SHARED:-}/data ]] || allowed+=(allowed_skips_without_shared_data.txt)
# GoogleTest writes "FILE:LINE: Skipped" and the reason below; unittest writes "... skipped 'REASON'".
reasons=$(sed -n -e '/: Skipped$/{n;p}' -e "s/.* \.\.\. skipped ['\"]\(.*\)['\"]$/\1/p" "$log" | sort -u)
refused=$(grep -vE -f <(grep -hvE '^(#|$)' "${allowed[@]}") <<<"$reasons" || true)
if [[ $refused ]]; then
  echo "tests were skipped for reasons that tests/allowed_skips.txt does not list:" >&2
  echo "$refused" >&2
  exit 1
fi

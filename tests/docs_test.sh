#!/usr/bin/env bash
# docs_test.sh SOURCE_DIR: fails where a relative Markdown link, or a page of docs/ that a source names, leads nowhere.
set -euo pipefail
cd "$1"

failures=0
fail() {
  echo "$*"
  failures=1
}

# Everything that is committed, and nothing that is built or downloaded.
files() {  # files FIND-EXPRESSION...
  find . \( -path ./.git -o -path ./build -o -path ./demo -o -path ./shared -o -path ./fuzz/corpus \) -prune -o \
    -type f \( "$@" \) -print | sed 's,^\./,,' | sort
}

# FILE without blocks and spans of code.
prose() {
  awk '/^ *```/ { code = !code; print ""; next } code { print ""; next } { gsub(/`[^`]*`/, ""); print }' "$1"
}

# The anchors of FILE's headings, as GitHub makes them.
anchors() {
  awk '/^ *```/ { code = !code; next } !code && /^#+ / { sub(/^#+ +/, ""); print }' "$1" |
    tr '[:upper:]' '[:lower:]' | sed -E 's/\[([^]]*)\]\([^)]*\)/\1/g; s/[^a-z0-9 _-]//g; s/ /-/g'
}

# Relative links, with their anchors.
while read -r page; do
  folder=$(dirname "$page")
  # `make results` puts this text into docs/results.md: its links are that page's.
  [[ $page == examples/results-introduction.md ]] && folder=docs
  while IFS=: read -r line link; do
    target=${link#*](}
    target=${target%%[) ]*}
    [[ $target =~ ^[a-z]+: ]] && continue
    path=$page
    [[ $target == \#* ]] || path=$folder/${target%%#*}
    if [[ ! -e $path ]]; then
      fail "$page:$line: link to $target, which is not there"
    elif [[ $target == *#* && $path == *.md ]] && ! anchors "$path" | grep -qxF -- "${target#*#}"; then
      fail "$page:$line: link to $target, a heading that is not there"
    fi
  done < <(prose "$page" | grep -noE '\]\([^)]+\)' || true)
done < <(files -name '*.md')

# Pages by name: docs/FOLDER/PAGE.md, and decisions by number.
while IFS=: read -r file line mention; do
  compgen -G "$mention*" >/dev/null && [[ $mention != *.md || -e $mention ]] && continue
  fail "$file:$line: $mention is not there"
done < <(files ! -path ./tests/docs_test.sh | xargs -d '\n' grep -InoP '(?<![\w./-])docs/([\w./-]+\.md\b|decisions/\d{4}(?![\w-]))' || true)

# Every page stands in an index, so that readers find it.
while read -r page; do
  index=docs/README.md
  [[ $page == docs/decisions/* ]] && index=docs/decisions/README.md
  [[ $page == docs/README.md ]] && continue
  [[ $page == "$index" ]] && index=docs/README.md
  name=${page#"$(dirname "$index")"/}
  grep -qF "]($name)" "$index" || fail "$index: no line about $page"
done < <(find docs -name '*.md' | sort)

exit $failures

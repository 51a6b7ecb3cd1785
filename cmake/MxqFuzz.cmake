# mxq_fuzz_target(NAME SOURCE): SOURCE defines LLVMFuzzerTestOneInput for one untrusted format, NAME.
#   MXQ_FUZZ (clang, the fuzz preset): the libFuzzer program fuzz_NAME; fuzz/run.sh runs all of them.
#   MXQ_TESTS: replay_NAME runs each file of fuzz/corpus/NAME through it once, as the test fuzz-replay.NAME.

if(MXQ_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "MXQ_FUZZ needs clang: cmake --preset fuzz")
  endif()
  # The library must count its branches for the fuzzer to find new ones.
  target_compile_options(mxq_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

function(mxq_fuzz_program program)
  add_executable(${program} ${ARGN})
  target_include_directories(${program} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${program} PRIVATE mxq mxq_flags)
endfunction()

function(mxq_fuzz_target name source)
  if(MXQ_FUZZ)
    mxq_fuzz_program(fuzz_${name} ${source})
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  endif()
  if(MXQ_TESTS)
    mxq_fuzz_program(replay_${name} ${source} ${PROJECT_SOURCE_DIR}/fuzz/replay_main.cc)
    add_test(NAME fuzz-replay.${name} COMMAND replay_${name} ${PROJECT_SOURCE_DIR}/fuzz/corpus/${name})
    set_tests_properties(fuzz-replay.${name} PROPERTIES LABELS fuzz-replay TIMEOUT 600)
  endif()
endfunction()

# mxq_unit_tests(LAYER file_test.cc ...): one test program for a layer's unit tests, each test its own entry in ctest.
# Tests see the private headers of src/ and, through MXQ_SHARED (environment), the reference data where it is present.
include(GoogleTest)

function(mxq_unit_tests layer)
  add_executable(test_${layer} ${ARGN})
  target_include_directories(test_${layer} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(test_${layer} PRIVATE MXQ_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(test_${layer} PRIVATE mxq mxq_flags fmt::fmt nlohmann_json::nlohmann_json GTest::gmock GTest::gtest_main)
  gtest_discover_tests(test_${layer} TEST_PREFIX ${layer}. DISCOVERY_TIMEOUT 60 PROPERTIES LABELS unit TIMEOUT 600)
endfunction()

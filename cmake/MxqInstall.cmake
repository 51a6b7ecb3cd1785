# `cmake --install` puts the program, the library, the public headers and a CMake package in place, so that another
# program can find_package(mxq) and link mxq::mxq.
include(CMakePackageConfigHelpers)

install(TARGETS mxq EXPORT mxq-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/mxq DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT mxq-targets NAMESPACE mxq:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mxq)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/FindPCRE2.cmake ${CMAKE_CURRENT_LIST_DIR}/Findutf8proc.cmake
              ${CMAKE_CURRENT_LIST_DIR}/FindxxHash.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mxq)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/mxq-config.cmake.in ${PROJECT_BINARY_DIR}/mxq-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mxq)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/mxq-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mxq-config.cmake ${PROJECT_BINARY_DIR}/mxq-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mxq)

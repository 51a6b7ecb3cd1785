# HiGHS, as the pip package highsbox carries it: MXQ_HIGHS_FOUND and mxq_link_highs(target).
# Its own CMake package names a library folder that the wheel does not have, so the files are looked for directly.
# MXQ_HIGHS_ROOT is the folder that holds include/highs and lib; make build installs it into build/venv.
set(MXQ_HIGHS_FOUND FALSE)
if(NOT MXQ_HIGHS)
  return()
endif()
file(GLOB highs_roots ${PROJECT_SOURCE_DIR}/build/venv/lib/python3*/site-packages/highsbox/highs_dist)
set(MXQ_HIGHS_ROOT "" CACHE PATH "Folder of a HiGHS installation (include/highs, lib)")
list(PREPEND highs_roots ${MXQ_HIGHS_ROOT})
find_path(MXQ_HIGHS_INCLUDE_DIR interfaces/highs_c_api.h HINTS ${highs_roots} PATH_SUFFIXES include/highs highs)
find_library(MXQ_HIGHS_LIBRARY highs HINTS ${highs_roots} PATH_SUFFIXES lib lib64)
mark_as_advanced(MXQ_HIGHS_INCLUDE_DIR MXQ_HIGHS_LIBRARY)
if(NOT MXQ_HIGHS_INCLUDE_DIR OR NOT MXQ_HIGHS_LIBRARY)
  message(STATUS "HiGHS not found (MXQ_HIGHS_ROOT): the solver highs is left out")
  return()
endif()
message(STATUS "HiGHS: ${MXQ_HIGHS_LIBRARY}")
set(MXQ_HIGHS_FOUND TRUE)

# The shared library lies where no loader looks. Programs in the build tree find it by the RPATH that CMake writes;
# installed ones find the copy that is installed beside the library.
get_filename_component(highs_file ${MXQ_HIGHS_LIBRARY} NAME)
install(FILES ${MXQ_HIGHS_LIBRARY} DESTINATION ${CMAKE_INSTALL_LIBDIR})
list(APPEND CMAKE_INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")

function(mxq_link_highs target)
  target_include_directories(${target} SYSTEM PRIVATE $<BUILD_INTERFACE:${MXQ_HIGHS_INCLUDE_DIR}>)
  target_link_libraries(${target} PRIVATE
    $<BUILD_INTERFACE:${MXQ_HIGHS_LIBRARY}> $<INSTALL_INTERFACE:$<INSTALL_PREFIX>/${CMAKE_INSTALL_LIBDIR}/${highs_file}>)
endfunction()

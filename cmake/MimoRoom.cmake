# A room: one static library mimo_<name>, explicit sources, explicit friends.
#
#   mimo_room(kvcache HEADERS kv_spec.h SOURCES kv_spec.cc LINK mimo_base)
#
# LINK is public: whoever links the room may include what the room includes.
function(mimo_room name)
  cmake_parse_arguments(ARG "" "" "HEADERS;SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  add_library(mimo_${name} STATIC ${ARG_SOURCES})
  target_sources(mimo_${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}
                                     FILES ${ARG_HEADERS})
  target_include_directories(mimo_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(mimo_${name} PUBLIC ${ARG_LINK} PRIVATE ${ARG_PRIVATE_LINK})
  mimo_warnings(mimo_${name})
  set_target_properties(mimo_${name} PROPERTIES LINKER_LANGUAGE CXX
                                                VERIFY_INTERFACE_HEADER_SETS ON)
endfunction()

function(mimo_warnings target)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror>)
endfunction()

# A test binary, each of its tests known to ctest by name.
#
#   mimo_test(kv_spec_test SOURCES kv_spec_test.cc LINK mimo_kvcache LABELS cpu)
#
# LABELS: cpu (the default), tsan (its subject is threads: runs under TSan too), slow, gpu, gpu2.
# TIMEOUT is a test's bound in seconds. PER_BINARY makes ctest run the binary once, for suites whose
# start is dear.
function(mimo_test name)
  cmake_parse_arguments(ARG "PER_BINARY" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS cpu)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  # Under TSan only what has threads for its subject is run: the rest is neither built nor known there.
  set(exclude)
  if(MIMO_SANITIZE STREQUAL "thread" AND NOT "tsan" IN_LIST ARG_LABELS)
    set(exclude EXCLUDE_FROM_ALL)
  endif()
  add_executable(${name} ${exclude} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest GTest::gtest_main
                                        Threads::Threads)
  target_compile_definitions(${name} PRIVATE MIMO_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  mimo_warnings(${name})
  if(exclude)
    return()
  endif()
  if(ARG_PER_BINARY)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
  else()
    # gtest_discover_tests() takes lists apart, so several labels become one: "cpu+tsan". ctest -L
    # tsan, a regular expression, finds it all the same.
    list(JOIN ARG_LABELS "+" label)
    # UCX hooks madvise(), which glibc calls when a thread ends, too late for TSan to be entered.
    set(environment)
    if(MIMO_SANITIZE STREQUAL "thread")
      set(environment ENVIRONMENT UCX_MEM_EVENTS=n)
    endif()
    gtest_discover_tests(${name} TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60
                         PROPERTIES LABELS "${label}" TIMEOUT ${ARG_TIMEOUT} ${environment})
  endif()
endfunction()

# A program. Its shared libraries are found beside it in lib/, so that it can be carried.
function(mimo_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} Threads::Threads)
  mimo_warnings(${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin
                                           BUILD_RPATH "$ORIGIN/lib" INSTALL_RPATH "$ORIGIN/lib")
  install(TARGETS ${name} RUNTIME DESTINATION bin)
endfunction()

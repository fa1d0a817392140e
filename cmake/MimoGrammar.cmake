# MIMO_GRAMMAR: ON builds constraints and fails where their engine cannot be had, AUTO leaves them
# out there, OFF leaves them out.
#
# The engine is xgrammar's source archive, fetched once by pip, held to its hash, and compiled once
# into MIMO_DEPS, which every build type shares. The archive is not instrumented: for the address
# and undefined-behaviour sanitizers that is sound (its allocations are still checked, its own code
# is not); for the thread sanitizer it is as long as what passes between threads is handed over by
# our own instrumented code, which grammar/engine.h does.
set(MIMO_GRAMMAR AUTO CACHE STRING "Constraints: AUTO, ON or OFF")
set(MIMO_DEPS "${PROJECT_SOURCE_DIR}/build/deps" CACHE PATH "What is fetched and compiled once")
set(MIMO_XGRAMMAR_VERSION 0.2.8)
set(MIMO_XGRAMMAR_SHA256 8305646fd2b319d6c3003f51a1665e54cbbe9cba1fb636bc41d0b46434ccbb80)
set(MIMO_HAS_GRAMMAR OFF)

# Sets `failure` to why the archive is not there, or to nothing.
function(mimo_fetch_xgrammar archive failure)
  set(${failure} "" PARENT_SCOPE)
  if(EXISTS "${archive}")
    file(SHA256 "${archive}" hash)
    if(hash STREQUAL MIMO_XGRAMMAR_SHA256)
      return()
    endif()
    file(REMOVE "${archive}")
  endif()
  find_program(MIMO_PYTHON python3)
  if(NOT MIMO_PYTHON)
    set(${failure} "python3 not found" PARENT_SCOPE)
    return()
  endif()
  message(STATUS "Fetching xgrammar ${MIMO_XGRAMMAR_VERSION}")
  file(WRITE "${MIMO_DEPS}/xgrammar.txt"
       "xgrammar==${MIMO_XGRAMMAR_VERSION} --hash=sha256:${MIMO_XGRAMMAR_SHA256}\n")
  execute_process(
    COMMAND ${MIMO_PYTHON} -m pip download --quiet --disable-pip-version-check --no-deps
            --no-binary xgrammar --require-hashes --timeout 20 --dest "${MIMO_DEPS}"
            -r "${MIMO_DEPS}/xgrammar.txt"
    RESULT_VARIABLE status ERROR_VARIABLE why OUTPUT_QUIET TIMEOUT 300)
  if(NOT EXISTS "${archive}")
    string(STRIP "${why}" why)
    set(${failure} "pip download: ${status}: ${why}" PARENT_SCOPE)
  endif()
endfunction()

# Puts `new` for `old`, which must be in the file once.
function(mimo_replace file old new)
  file(READ "${file}" text)
  string(FIND "${text}" "${old}" first)
  string(FIND "${text}" "${old}" last REVERSE)
  if(first EQUAL -1 OR NOT first EQUAL last)
    message(FATAL_ERROR "${file}: expected one \"${old}\"")
  endif()
  string(REPLACE "${old}" "${new}" text "${text}")
  file(WRITE "${file}" "${text}")
endfunction()

function(mimo_insert file before after)
  mimo_replace("${file}" "${before}" "${before}${after}")
endfunction()

function(mimo_patch_xgrammar source)
  # It has no bound on what a grammar may cost. Its innermost operations tell grammar/budget.h of
  # what they do, which ends a compilation (by an exception, from any depth) when it is too much.
  mimo_insert("${source}/cpp/support/logging.h" "#include \"cpptrace.h\"  // IWYU pragma: keep\n"
              "\nnamespace mimo::grammar {\nvoid count_growth();\nvoid count_step();\n}\n")
  mimo_insert("${source}/cpp/fsm.cc" "  int AddState() {\n" "    mimo::grammar::count_growth();\n")
  mimo_insert("${source}/cpp/fsm.cc" "  void AddEdge(int from, int to, int32_t min, int32_t max) {\n"
              "    mimo::grammar::count_growth();\n")
  mimo_insert("${source}/cpp/grammar_builder.cc"
              "int32_t GrammarBuilder::AddGrammarExpr(const GrammarExpr& grammar_expr) {\n"
              "  mimo::grammar::count_growth();\n")
  mimo_insert("${source}/cpp/earley_parser.h" "  void Enqueue(const ParserState& state) {\n"
              "    mimo::grammar::count_step();\n")
  mimo_insert("${source}/cpp/earley_parser.cc"
              "bool EarleyParser::Advance(const uint8_t ch, bool debug_print) {\n"
              "  mimo::grammar::count_step();\n")
  # Its ranges of characters take in overlong UTF-8 and surrogates.
  foreach(edge "Min2BytesUnicode = 0xC080|Min2BytesUnicode = 0xC280"
               "Min3BytesUnicode = 0xE08080|Min3BytesUnicode = 0xE0A080"
               "Min4BytesUnicode = 0xF0808080|Min4BytesUnicode = 0xF0908080"
               "Max4BytesUnicode = 0xF7BFBFBF|Max4BytesUnicode = 0xF48FBFBF")
    string(REPLACE "|" ";" edge "${edge}")
    list(GET edge 0 old)
    list(GET edge 1 new)
    mimo_replace("${source}/cpp/fsm_builder.h" "${old}" "${new}")
  endforeach()
  mimo_insert("${source}/cpp/grammar_functor.cc"
              "::AddCodepointRange(int from, int to, uint32_t low, uint32_t high) {\n"
              "  if (low < 0xD800 && high > 0xD7FF) {
    AddCodepointRange(from, to, low, 0xD7FF);
    low = 0xE000;
  }
  if (low > high) return;\n")
endfunction()

# Sets `failure` to why the library is not there, or to nothing.
function(mimo_build_xgrammar archive source build failure)
  set(${failure} "" PARENT_SCOPE)
  file(SHA256 "${CMAKE_CURRENT_FUNCTION_LIST_FILE}" version)
  set(stamp "")
  if(EXISTS "${source}/patched_by")
    file(READ "${source}/patched_by" stamp)
  endif()
  if(NOT stamp STREQUAL version)
    file(REMOVE_RECURSE "${source}")
    file(ARCHIVE_EXTRACT INPUT "${archive}" DESTINATION "${MIMO_DEPS}")
    mimo_patch_xgrammar("${source}")
    file(WRITE "${source}/patched_by" "${version}")
  endif()
  message(STATUS "Compiling xgrammar ${MIMO_XGRAMMAR_VERSION} (once for all build types)")
  execute_process(
    COMMAND ${CMAKE_COMMAND} -S "${PROJECT_SOURCE_DIR}/cmake/xgrammar" -B "${build}"
            -G "${CMAKE_GENERATOR}" "-DXGRAMMAR_SOURCE=${source}" -DCMAKE_BUILD_TYPE=Release
            -DCMAKE_CXX_FLAGS_RELEASE=-O2 "-DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}"
            "-DCMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER}"
    RESULT_VARIABLE status ERROR_VARIABLE why OUTPUT_QUIET)
  if(status EQUAL 0)
    execute_process(COMMAND ${CMAKE_COMMAND} --build "${build}" RESULT_VARIABLE status
                    OUTPUT_VARIABLE out ERROR_VARIABLE why)
  endif()
  if(NOT status EQUAL 0)
    set(${failure} "compiling: ${out}${why}" PARENT_SCOPE)
  endif()
endfunction()

function(mimo_add_xgrammar)
  set(name "xgrammar-${MIMO_XGRAMMAR_VERSION}")
  set(source "${MIMO_DEPS}/${name}")
  set(build "${source}-${CMAKE_CXX_COMPILER_ID}-${CMAKE_CXX_COMPILER_VERSION}")
  file(MAKE_DIRECTORY "${MIMO_DEPS}")
  # Build types may be configured at the same time.
  file(LOCK "${MIMO_DEPS}/xgrammar.lock" GUARD FUNCTION TIMEOUT 900)
  mimo_fetch_xgrammar("${source}.tar.gz" failure)
  if(NOT failure)
    mimo_build_xgrammar("${source}.tar.gz" "${source}" "${build}" failure)
  endif()
  if(failure AND MIMO_GRAMMAR STREQUAL "ON")
    message(FATAL_ERROR "MIMO_GRAMMAR=ON: ${failure}")
  elseif(failure)
    message(STATUS "Constraints: not built (${failure})")
    return()
  endif()
  add_library(xgrammar STATIC IMPORTED GLOBAL)
  set_target_properties(xgrammar PROPERTIES IMPORTED_LOCATION "${build}/libxgrammar.a")
  target_include_directories(xgrammar SYSTEM INTERFACE "${source}/include"
                                                       "${source}/3rdparty/dlpack/include")
  set(MIMO_HAS_GRAMMAR ON PARENT_SCOPE)
endfunction()

if(NOT MIMO_GRAMMAR STREQUAL "OFF")
  mimo_add_xgrammar()
endif()
message(STATUS "Constraints: ${MIMO_HAS_GRAMMAR}")

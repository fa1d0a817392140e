# MIMO_CUDA: AUTO builds the CUDA backend where there is nvcc, ON demands it, OFF leaves it out.
# MIMO_CUDA_ARCHITECTURES: real architectures only; sm_100 has the portable kernels.
set(MIMO_CUDA AUTO CACHE STRING "CUDA backend: AUTO, ON or OFF")
set(MIMO_CUDA_ARCHITECTURES 90a-real 100-real CACHE STRING "What the CUDA files are compiled for")
set(MIMO_HAS_CUDA OFF)
if(MIMO_CUDA STREQUAL "ON" OR (MIMO_CUDA STREQUAL "AUTO" AND NOT MIMO_SANITIZE))
  find_program(MIMO_NVCC nvcc HINTS /usr/local/cuda/bin)
  if(MIMO_NVCC)
    set(CMAKE_CUDA_COMPILER ${MIMO_NVCC})
    set(CMAKE_CUDA_ARCHITECTURES ${MIMO_CUDA_ARCHITECTURES})
    set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
    if(MIMO_CCACHE)
      set(CMAKE_CUDA_COMPILER_LAUNCHER ${MIMO_CCACHE})
    endif()
    enable_language(CUDA)
    set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
    set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
    # CMake 3.25 does not know CUDA20: a target's CUDA_STANDARD falls back to CMAKE_CXX_STANDARD.
    set(CMAKE_CUDA_STANDARD 17)
    set(CMAKE_CUDA17_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA17_EXTENSION_COMPILE_OPTION "-std=c++20")
    find_package(CUDAToolkit REQUIRED)
    # NCCL comes beside the toolkit or with the distribution.
    find_library(MIMO_NCCL_LIBRARY NAMES nccl libnccl.so.2
                 HINTS ${CUDAToolkit_LIBRARY_DIR} ${CUDAToolkit_LIBRARY_ROOT}/lib)
    find_path(MIMO_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
    set(MIMO_HAS_CUDA ON)
  elseif(MIMO_CUDA STREQUAL "ON")
    message(FATAL_ERROR "MIMO_CUDA=ON: nvcc not found")
  endif()
endif()
if(MIMO_HAS_CUDA)
  message(STATUS "CUDA backend: ${CMAKE_CUDA_COMPILER}, ${CMAKE_CUDA_ARCHITECTURES}")
else()
  message(STATUS "CUDA backend: not built (MIMO_CUDA=${MIMO_CUDA})")
endif()

# Part of the CUDA backend: as mimo_room(), with .cu files.
function(mimo_cuda_room name)
  mimo_room(${name} ${ARGN})
  target_link_libraries(mimo_${name} PUBLIC CUDA::cudart_static)
  target_compile_options(
    mimo_${name} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra -lineinfo>)
endfunction()

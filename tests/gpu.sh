#!/usr/bin/env bash
# Everything that needs a GPU: kernels against the reference, compute-sanitizer, the model, groups of
# two, the whole server, the benches. See tests/README.md.
#
#   tests/gpu.sh pack            where there is nvcc, with or without a GPU: builds, packs build/gpu.tar.xz
#   tests/gpu.sh PART...         on the GPU machine: build kernels sanitize sanitize-groups model groups
#                                server kernel-bench counters step-bench group-bench, or all (but build); uses build/gpu.tar.xz when it
#                                is there and builds the preset gpu otherwise
#
# Results go to $OUT, or build/gpu-results.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
out=${OUT:-$root/build/gpu-results}
mkdir -p "$out"
# Compilers that the environment names may belong to another C++ library than the system's.
unset CC CXX
export HOME=${HOME:-/root}
failed=()
passed=0

say() { printf '\n== %s (%ds)\n' "$*" "$SECONDS"; }

# --- Packing ------------------------------------------------------------------

# Shared libraries that the programs in $1 need and a plain machine lacks go to $1/lib.
gather_libraries() {
  local folder=$1 program
  mkdir -p "$folder/lib/ucx"
  for program in "$folder"/bin/*; do
    ldd "$program" | awk '/=> \//{print $3}'
  done |
    grep -vE '/(libc|libm|libpthread|libdl|librt|libresolv|libstdc\+\+|libgcc_s|libnccl|libcublas.*|libcuda.*)\.so' |
    sort -u | xargs -I{} cp -Lu {} "$folder/lib/"
  cp -Lu /usr/lib/x86_64-linux-gnu/ucx/libuct_cma.so.0 "$folder/lib/ucx/" 2>/dev/null
}

# Headers and archives that the preset gpu needs and a bare GPU machine lacks, as a prefix.
gather_sdk() {
  local sdk=$1/sdk
  mkdir -p "$sdk/include" "$sdk/lib/cmake" "$sdk/share/cmake"
  cp -r /usr/include/nlohmann /usr/include/gtest /usr/include/gmock "$sdk/include/"
  cp /usr/lib/*/libgtest*.a /usr/lib/*/libgmock*.a "$sdk/lib/"
}

pack() {
  set -e
  cmake --preset gpu >/dev/null
  cmake --build build/gpu -- --quiet
  local pack=build/gpu-pack
  rm -rf "$pack"
  mkdir -p "$pack/tests" "$pack/bench" "$pack/bin"
  find build/gpu/tests -type f -executable \( -name '*cuda*test' -o -name '*cuda*helper' \) -exec cp {} "$pack/tests/" \;
  cp build/gpu/bench/{kernel,step,all_reduce}_bench "$pack/bench/"
  if [ "${1:-}" != kernels ]; then
    cmake --preset release >/dev/null
    cmake --build build/release --target mimo mimo-coordinator mimo-worker -- --quiet
    cp build/release/bin/{mimo,mimo-coordinator,mimo-worker} build/gpu/bin/libmimo_cuda.so "$pack/bin/"
    gather_libraries "$pack"
    gather_sdk "$pack"
  fi
  find "$pack" -type f -exec strip --strip-debug {} \; 2>/dev/null
  echo "$root" >"$pack/source"
  git rev-parse --short HEAD >"$pack/commit"
  tar -C "$pack" -c . | xz --lzma2=preset=6,dict=192MiB >build/gpu.tar.xz
  ls -l build/gpu.tar.xz
}

# --- Unpacking ----------------------------------------------------------------

# Sets $kit, with tests/, bench/ and maybe bin/.
ready() {
  kit=$root/build/gpu-kit
  if [ -f build/gpu.tar.xz ]; then
    rm -rf "$kit"
    mkdir -p "$kit"
    tar -C "$kit" -xJf build/gpu.tar.xz
    # Tests find their data where the tree was when they were built.
    local source
    source=$(cat "$kit/source")
    if [ ! -e "$source" ]; then
      mkdir -p "$(dirname "$source")"
      ln -s "$root" "$source"
    fi
    commit=$(cat "$kit/commit")
  else
    cmake --preset gpu && cmake --build build/gpu -- --quiet || exit 1
    mkdir -p "$kit"
    ln -sfn "$root/build/gpu/bench" "$kit/bench"
    mkdir -p "$kit/tests"
    find build/gpu/tests -type f -executable -name '*cuda*' -exec ln -sf "$root/{}" "$kit/tests/" \;
    commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
  fi
  gpu_libraries=$(dirname "$(ldconfig -p | awk '/libcublasLt.so/{print $NF; exit}')" 2>/dev/null)
  for folder in /usr/local/cuda/lib64 /usr/local/cuda/lib /usr/local/cuda/extras/CUPTI/lib64; do
    [ -d "$folder" ] && gpu_libraries="$gpu_libraries:$folder"
  done
  local torch
  torch=$(find / -maxdepth 8 -name 'libcublasLt.so.13' -not -path '/proc/*' 2>/dev/null | head -n 1)
  [ -n "$torch" ] && gpu_libraries="$gpu_libraries:$(dirname "$torch")"
  torch=$(find / -maxdepth 9 -name 'libnccl.so.2' -not -path '/proc/*' 2>/dev/null | head -n 1)
  [ -n "$torch" ] && gpu_libraries="$gpu_libraries:$(dirname "$torch")"
  export LD_LIBRARY_PATH="$gpu_libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export NCCL_NVLS_ENABLE=0
}

# The preset gpu from source on this machine, which need not have gRPC, GoogleTest or nlohmann's JSON.
part_build() {
  local flags=(-DMIMO_TESTS=OFF)
  [ -x /usr/bin/g++ ] && export CXX=/usr/bin/g++
  if [ -d "$kit/sdk" ]; then
    flags=("-DCMAKE_CXX_FLAGS=-isystem $kit/sdk/include" "-DGTEST_ROOT=$kit/sdk" "-DGTEST_LIBRARY=$kit/sdk/lib/libgtest.a"
      "-DGTEST_MAIN_LIBRARY=$kit/sdk/lib/libgtest_main.a" "-DGTEST_INCLUDE_DIR=$kit/sdk/include" "-DGMOCK_LIBRARY=$kit/sdk/lib/libgmock.a")
  fi
  if cmake --preset gpu "${flags[@]}" >"$out/build.log" 2>&1 && cmake --build build/gpu -- --quiet >>"$out/build.log" 2>&1; then
    echo "built from source: $(find build/gpu/tests build/gpu/bench -type f -executable -not -name '*.so' | wc -l) programs"
    passed=$((passed + 1))
  else
    failed+=(build)
    tail -n 25 "$out/build.log"
  fi
}

# A gtest binary: its failures and its closing lines; the whole log stays in $out.
run_test() {
  local name=$1 seconds=$2
  shift 2
  local log=$out/$name.log
  local begin=$SECONDS
  timeout "$seconds" "$kit/tests/$name" --gtest_brief=1 "$@" >"$log" 2>&1
  local status=$?
  if [ $status -eq 0 ]; then
    passed=$((passed + 1))
    printf '%-32s %4ds %s\n' "$name" $((SECONDS - begin)) "$(grep -E 'PASSED|SKIPPED' "$log" | tr '\n' ' ')"
  else
    failed+=("$name")
    printf '%-32s %4ds FAILED, status %d\n' "$name" $((SECONDS - begin)) "$status"
    grep -vE '^\[ +(OK|RUN)' "$log" | tail -n "${TAIL:-25}"
  fi
}

# --- Parts --------------------------------------------------------------------

# The operations' tests, each against the reference; KERNEL_TESTS names some of them.
kernel_tests() {
  local path
  for path in "$kit"/tests/*_cuda_test; do
    case $(basename "$path") in
      nccl_* | cuda_golden_* | lockstep_* | invariance_model_* | rank_masks_*) ;;
      *) basename "$path" ;;
    esac
  done
}

part_kernels() {
  local name
  for name in ${KERNEL_TESTS:-$(kernel_tests)}; do run_test "$name" "${KERNEL_SECONDS:-150}"; done
}

# What a tool runs of a test: no thousand repeats and no big shapes, since the tools slow a kernel down
# a hundredfold, and racecheck a thousandfold.
sanitize_filter() {
  case $1:$2 in
    racecheck:attention_*) echo "*WindowsEdges*:*PagesOfEvery*:*SinksWithout*:*NothingBut*" ;;
    racecheck:sampling_mask_*) echo "*OnlyAllowed*:*NothingAllowed*" ;;
    racecheck:sampling_cuda_test) echo "*InOneCall*" ;;
    racecheck:sampling_*) echo "*Ties*:*Finite*:*Shards*" ;;
    racecheck:route_plan_*) echo "ExpertPlan.*:-*Repeat*" ;;
    racecheck:route_shared_*) echo "*PaddingIsInNoPlan*" ;;
    racecheck:route_*) echo "*Padding*:*Ties*:*LeavesThePlan*:*GivesOnly*" ;;
    racecheck:tile_*) echo "*OneBlock*" ;;
    racecheck:product_experts_*) echo "*/0:*/1" ;;
    *:attention_*) echo "-*Thousand*:*256*:*Replay*:*Long*:*EverySize*:*MoreRuns*:*MoreDecode*" ;;
    *) echo "-*Real*:*Repeat*:*Again*:*Models*:*Distribution*:*EveryTime*:*Thousand*:*Speed*" ;;
  esac
}

# One tool over one test; prints a line.
sanitize_one() {
  local tool=$1 name=$2 log=$out/$1-$2.log begin=$SECONDS
  # A refused cudaMalloc is what one test wants.
  local options=()
  [ "$tool" = memcheck ] && options=(--report-api-errors no)
  timeout "${SANITIZE_SECONDS:-200}" compute-sanitizer --tool "$tool" "${options[@]}" --error-exitcode 9 --print-limit 5 \
    "$kit/tests/$name" --gtest_brief=1 --gtest_filter="$(sanitize_filter "$tool" "$name")" >"$log" 2>&1
  local status=$?
  printf '%-10s %-28s %4ds status %d %s\n' "$tool" "$name" $((SECONDS - begin)) $status \
    "$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|PASSED' "$log" | tr '\n' ' ')"
  [ $status -eq 0 ] || grep -E '=========|Failure|actual' "$log" | head -n 8
  return $status
}

part_sanitize() {
  export -f sanitize_one sanitize_filter
  export out kit
  local work=() tool name
  for tool in ${SANITIZERS:-memcheck racecheck initcheck synccheck}; do
    for name in ${KERNEL_TESTS:-$(kernel_tests)}; do work+=("$tool $name"); done
  done
  printf '%s\n' "${work[@]}" |
    xargs -P "${SANITIZE_JOBS:-6}" -L 1 bash -c 'sanitize_one "$@" && touch "$out/clean-$1-$2"' _ |
    tee "$out/sanitize.txt"
  for name in "${work[@]}"; do
    if [ -f "$out/clean-${name// /-}" ]; then passed=$((passed + 1)); else failed+=("${name// /:}"); fi
    rm -f "$out/clean-${name// /-}"
  done
}

# The tools over the kernels of a group of two, in both ranks' processes.
part_sanitize-groups() {
  local tool log
  for tool in ${SANITIZERS:-memcheck racecheck initcheck synccheck}; do
    log=$out/$tool-groups.log
    timeout "${SANITIZE_SECONDS:-200}" compute-sanitizer --tool "$tool" --target-processes all --report-api-errors no \
      --print-limit 5 "$kit/tests/nccl_group_cuda_test" --gtest_brief=1 \
      --gtest_filter="${GROUP_FILTER:-*OneShot*/1:*TwoShot*/1}" >"$log" 2>&1
    local status=$?
    printf '%-10s groups status %d: %s\n' "$tool" $status \
      "$(grep -hE 'ERROR SUMMARY|RACECHECK SUMMARY|PASSED' "$log" | tr '\n' ' ')"
    if [ $status -eq 0 ] && ! grep -E '(ERROR|RACECHECK) SUMMARY' "$log" | grep -qvE ' 0 (errors|hazards)'; then
      passed=$((passed + 1))
    else
      failed+=("$tool:groups")
      grep -E '=========|Failure|actual' "$log" | head -n 8
    fi
  done
}

part_model() {
  local name
  for name in lockstep_cuda_test cuda_golden_test invariance_model_cuda_test rank_masks_cuda_test; do
    run_test "$name" 200
  done
}

part_groups() {
  local name
  for name in nccl_group_cuda_test; do run_test "$name" 200; done
}

part_kernel-bench() {
  "$kit/bench/kernel_bench" --commit "$commit" --out "$out/kernel_bench.json" ${KERNEL_BENCH:-} 2>&1 |
    tee "$out/kernel_bench.txt"
}

# Nsight Compute's counters of the operations that have a mark; where ncu is and may read them.
part_counters() {
  if python3 "$root/bench/counters.py" "$kit/bench/kernel_bench" "$out/counters.json" --commit "$commit" 2>&1 |
    tee "$out/counters.txt"; then
    passed=$((passed + 1))
  else
    failed+=(counters)
  fi
}

part_step-bench() {
  "$kit/bench/step_bench" --commit "$commit" --out "$out/step_bench.json" ${STEP_BENCH:-} 2>&1 |
    tee "$out/step_bench.txt"
}

part_group-bench() {
  "$kit/bench/all_reduce_bench" --commit "$commit" --out "$out/all_reduce_bench.json" 2>&1 |
    tee "$out/all_reduce_bench.txt"
}

part_server() {
  if [ ! -x "$kit/bin/mimo" ]; then
    echo "the server was not packed: skipped"
    return
  fi
  if LD_LIBRARY_PATH="$kit/lib:$LD_LIBRARY_PATH" bash "$root/tests/gpu_server.sh" "$kit/bin" "$out"; then
    passed=$((passed + 1))
  else
    failed+=(server)
  fi
}

if [ "${1:-}" = pack ]; then
  pack "${2:-}"
  exit
fi
parts=("$@")
[ ${#parts[@]} -eq 0 ] && parts=(all)
[ "${parts[0]}" = all ] && parts=(kernels sanitize sanitize-groups model groups server group-bench kernel-bench step-bench)
say "ready"
nvidia-smi --query-gpu=name,memory.total,clocks.sm --format=csv,noheader
ready
for part in "${parts[@]}"; do
  say "$part"
  "part_$part"
done
say "done"
echo "$passed passed, ${#failed[@]} failed ${failed[*]:-}"
[ ${#failed[@]} -eq 0 ]

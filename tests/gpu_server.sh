#!/usr/bin/env bash
# The whole server on this machine's GPUs: it answers, its metrics tell of the device's memory, and it
# answers again after a rank was killed.
#
#   tests/gpu_server.sh FOLDER_OF_PROGRAMS FOLDER_FOR_LOGS [WORKERS...]
set -uo pipefail
bin=$1 out=$2
shift 2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
model=$root/models/tiny
failures=0
server=

say() { printf -- '-- %s (%ds)\n' "$*" "$SECONDS"; }
fail() { printf 'FAILED: %s\n' "$*"; failures=$((failures + 1)); }
field() { python3 -c 'import json, sys; print(eval("json.load(open(sys.argv[1]))" + sys.argv[2]))' "$@"; }
fetch() { python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())' "$1"; }
now_ms() { date +%s%3N; }
trap '[ -z "$server" ] || kill "$server" 2>/dev/null' EXIT

start() {
  logs=$out/server-tp$1
  rm -rf "$logs"
  mkdir -p "$logs"
  "$bin/mimo" serve --model "$model" --backend cuda --workers "$1" --listen 127.0.0.1:0 \
    --http-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --set engine.positions_max=2048 --log-folder "$logs" --ready-file "$logs/ready.json" \
    2>"$logs/serve.log" &
  server=$!
  for _ in $(seq 900); do
    [ -f "$logs/ready.json" ] && return 0
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  fail "tp $1 does not serve"
  tail -n 15 "$logs"/*.log
  return 1
}

# The first recorded question; the answer is known.
ask() {
  field "$model/expected.json" '["cases"][0]["text"]' | head -c -1 >"$logs/prompt"
  timeout 30 "$bin/mimo" generate --server "$(field "$logs/ready.json" '["listen"]')" --temperature 0 \
    --max-tokens 40 <"$logs/prompt" 2>"$logs/generate.log"
}
expect_answer() {
  local answer
  answer=$(ask)
  case "$answer" in
    *Oslo*) printf 'tp %s answers: %s\n' "$1" "$(tr '\n' ' ' <<<"$answer" | head -c 100)" ;;
    *) fail "tp $1 answers \"$answer\": $(tail -n 2 "$logs/generate.log")" ;;
  esac
}

# Kills the last rank; the others keep their weights and the group forms again.
kill_a_rank() {
  local victim began answer
  victim=$(pgrep -P "$server" -f mimo-worker | tail -n 1)
  began=$(now_ms)
  kill -9 "$victim"
  for _ in $(seq 300); do
    answer=$(ask)
    [[ "$answer" == *Oslo* ]] && break
    sleep 0.1
  done
  if [[ "$answer" == *Oslo* ]]; then
    printf 'tp %s answers again %d ms after a rank was killed\n' "$1" $(($(now_ms) - began))
  else
    fail "tp $1 does not answer after a rank was killed: $(tail -n 2 "$logs/generate.log")"
  fi
  grep -hE 'event=(epoch_ended|rank_ended|group_lost|group_serves|rank_ready|group_aborted|group_broken)' "$logs"/*.log |
    tail -n 12 | cut -c 1-230
}

stop() {
  kill "$server"
  wait "$server" || fail "tp $1: mimo serve ended with status $?"
  server=
}

gpus=$(nvidia-smi -L | wc -l)
workers=("$@")
[ ${#workers[@]} -eq 0 ] && workers=(1 2)
for tp in "${workers[@]}"; do
  [ "$tp" -le "$gpus" ] || { echo "tp $tp: skipped, $gpus GPUs here"; continue; }
  say "mimo serve --backend cuda --workers $tp"
  start "$tp" || continue
  expect_answer "$tp"
  fetch "http://$(field "$logs/ready.json" '["workers"][0]["metrics"]')/metrics" | grep -E '^mimo_device_bytes' ||
    fail "tp $tp: no mimo_device_bytes"
  [ "$tp" -gt 1 ] && kill_a_rank "$tp"
  stop "$tp"
  say "mimo verify --backend cuda --tp $tp"
  for folder in ${VERIFY:-models/tiny tests/golden/bf16-real-heads-window128 tests/golden/fp8-real-heads}; do
    timeout 100 "$bin/mimo" verify --model "$root/$folder" --backend cuda --tp "$tp" \
      --log-folder "$logs" >"$logs/verify.log" 2>&1 || fail "tp $tp: mimo verify of $folder"
    tail -n 1 "$logs/verify.log"
  done
done
say "$failures failures"
[ $failures -eq 0 ]

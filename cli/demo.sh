#!/usr/bin/env bash
# Serves the bundled model with two workers on this machine, asks it three things, shows its metrics and
# stops it. $1: folder of the programs, $2: the model.
set -euo pipefail
bin=$1 model=$2
scratch=$(mktemp -d)
server=

cleanup() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  [ -z "$server" ] || wait "$server" 2>/dev/null || true
  rm -rf "$scratch"
}
trap cleanup EXIT

say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
field() { python3 -c 'import json, sys; print(eval("json.load(open(sys.argv[1]))" + sys.argv[2]))' "$@"; }
fetch() { python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())' "$1"; }

say "mimo serve: a coordinator and two tensor-parallel workers"
"$bin/mimo" serve --model "$model" --tp 2 --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 \
  --log-folder "$scratch" --ready-file "$scratch/ready.json" 2>"$scratch/serve.log" &
server=$!
for _ in $(seq 600); do
  [ -f "$scratch/ready.json" ] && break
  kill -0 "$server" 2>/dev/null || { cat "$scratch"/*.log >&2; exit 1; }
  sleep 0.1
done
[ -f "$scratch/ready.json" ] || { echo "not serving after 60 s" >&2; cat "$scratch"/*.log >&2; exit 1; }
address=$(field "$scratch/ready.json" '["listen"]')
echo "serving at $address"

ask() {
  say "$1"
  field "$model/expected.json" "[\"cases\"][$2][\"text\"]" | head -c -1 >"$scratch/prompt"
  "$bin/mimo" generate --server "$address" --temperature 0 --max-tokens 160 <"$scratch/prompt"
}
ask "What is the capital of Norway?" 0
ask "What is the weather in Paris? (with tools)" 4
ask "Tell me a story about a fox and a lantern." 1

say "Prometheus: the coordinator's and a worker's /metrics, in part"
fetch "http://$(field "$scratch/ready.json" '["metrics_listen"]')/metrics" |
  grep -E '^vllm:(request_success_total|time_to_first_token_seconds_(sum|count)|generation_tokens_total)' || true
fetch "http://$(field "$scratch/ready.json" '["workers"][0]["metrics"]')/metrics" |
  grep -E '^mimo_(kv_bytes|device_bytes)'

say "stopping"
kill "$server"
wait "$server"
server=
echo "stopped cleanly"

#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/, two at a time.
# Usage: fuzz.sh SECONDS|runs=N [TARGET...]     fuzz.sh seeds     fuzz.sh list
#
# A target starts from the seeds in fuzz/corpus and from whatever earlier runs found, which stays in target/fuzz/corpus.
# An input that panics, takes more than 5 s or more than 512 MiB ends its run and is kept in target/fuzz/found:
#   CAIRN_FUZZ_TARGET=NAME target/fuzz/*/release/cairn-fuzz FILE     shows it again.
# CAIRN_SEED repeats a run; the seed is printed. `seeds` writes fuzz/corpus anew, from the golden vectors.
set -uo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,3s/^# //p' "$0" >&2; exit 64; }
case ${1:-} in
  seeds|list) limit= ;;
  runs=*) limit="-runs=${1#runs=}" ;;
  ''|*[!0-9]*) usage ;;
  *) limit="-max_total_time=$1" ;;
esac

build=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
# In its own folder cargo finds the wrapper that puts the counters in.
host=$(rustc -vV | sed -n 's/^host: //p')
(cd fuzz && cargo build --release --quiet --target "$host" --target-dir "$build") || exit 1
program=$build/$host/release/cairn-fuzz

if [ "$1" = seeds ]; then
  rm -rf fuzz/corpus && CAIRN_FUZZ_SEEDS=$PWD/fuzz/corpus "$program"
  exit
fi
mapfile -t all < <(sed -n 's/^    Target { name: "\([a-z_]*\)".*/\1/p' fuzz/src/targets/mod.rs)
[ "$1" = list ] && { printf '%s\n' "${all[@]}"; exit; }
shift
targets=("$@")
[ ${#targets[@]} -eq 0 ] && targets=("${all[@]}")

seed=${CAIRN_SEED:-$((RANDOM << 15 | RANDOM | 1))}
echo "fuzz: seed $seed, ${#targets[@]} targets, $limit"
mkdir -p "$build/found" "$build/logs"

one() {
  local target=$1 live=$build/corpus/$1 log=$build/logs/$1
  mkdir -p "$live"
  local start=$EPOCHREALTIME
  CAIRN_FUZZ_TARGET=$target "$program" "$limit" -seed="$seed" -rss_limit_mb=512 -timeout=5 -max_len=16384 \
    -print_final_stats=1 -artifact_prefix="$build/found/$target-" "$live" "fuzz/corpus/$target" >"$log" 2>&1
  local status=$?
  local runs rate memory
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
  memory=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
  if [ $status -ne 0 ] || [ -z "$runs" ] || [ "$runs" -eq 0 ]; then
    echo "fuzz: $target FAILED (status $status)"
    grep -E 'panicked|ERROR|SUMMARY|Test unit' -A2 "$log" | head -20
    return 1
  fi
  local line
  line=$(printf 'fuzz %s: %s runs, %s a second, %s MiB, in %.0f s' "$target" "$runs" "$rate" "$memory" \
    "$(awk "BEGIN { print $EPOCHREALTIME - $start }")")
  echo "$line"
  [ -z "${CAIRN_FIGURES:-}" ] || echo "$line" >>"$CAIRN_FIGURES"
}

failed=0 running=0
for target in "${targets[@]}"; do
  if [ "$running" -ge 2 ]; then
    wait -n || failed=$((failed + 1))
    running=$((running - 1))
  fi
  one "$target" &
  running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
  wait -n || failed=$((failed + 1))
  running=$((running - 1))
done
[ "$failed" -eq 0 ] || { echo "fuzz: $failed of ${#targets[@]} targets failed; inputs are in $build/found"; exit 1; }

#!/usr/bin/env bash
# The long forms of the suites: one row of a table, or all of them, each at full size.
# Usage: full.sh accept|prove ROW|all      full.sh sweep
#
# A row is the function row_<name> below. Rows of `accept` are modules of fuse-tests/tests/it; those of `prove` also use
# the suites of other crates. One test at a time: figures are measured, and a row may fill the memory or the disk.
set -uo pipefail
cd "$(dirname "$0")/.."

accept_rows=(first_use judges programs bigdir bigfile at_rest crash wrong_disk memory bad_input)
prove_rows=(power device_errors ordinals kills wrong_bytes limits collections models schedules fuzz)

usage() {
  echo "usage: full.sh accept ${accept_rows[*]// /|}|all" >&2
  echo "       full.sh prove ${prove_rows[*]// /|}|all" >&2
  echo "       full.sh sweep" >&2
  exit 64
}

set=${1:-} row=${2:-}
case $set in
  accept) all=("${accept_rows[@]}") ;;
  prove) all=("${prove_rows[@]}") ;;
  sweep) all=(sweep) row=sweep ;;
  *) usage ;;
esac
if [ "$row" = all ]; then
  rows=("${all[@]}")
elif [[ -n $row && " ${all[*]} " == *" $row "* ]]; then
  rows=("$row")
else
  usage
fi

mkdir -p target
export CAIRN_SCALE=full CAIRN_SKIPS=$PWD/target/$set.skips CAIRN_FIGURES=$PWD/target/$set.figures
: >"$CAIRN_SKIPS"; : >"$CAIRN_FIGURES"

# The integration tests of one crate whose path begins with a prefix.
tests() {
  local package=$1 prefix=$2
  cargo test --release --package "cairn-$package" --test it -- --test-threads=1 --show-output "$prefix"
}

# Tests of the disk store; the rest of the words are those of `cargo test`.
store() {
  cargo test --release --package cairn-store --features disk "$@"
}

row_memory() {
  cargo build --release --package cairn-store --features disk --example index_memory && tests fuse-tests memory::
}

# Random histories: the store in memory and on disk, the volume over both.
row_models() {
  tests store histories:: \
    && cargo test --release --package cairn-store --features disk,testing --lib -- --test-threads=1 --show-output histories:: \
    && tests fs model::
}

row_schedules() {
  scripts/schedules.sh 1
}

# Ten million runs of each target; a run that finds something stops its target and keeps the input.
row_fuzz() {
  scripts/fuzz.sh runs=10000000
}

row_ordinals() {
  cargo build --release --package cairn-store --features disk --example store_work && tests fuse-tests ordinals::
}

# Five hundred: of a store alone, and of a node; a part of them while it recovers from the one before.
row_kills() {
  CAIRN_KILLS=400 store --test it -- --test-threads=1 --show-output kill:: && tests fuse-tests crash::every_kill
}

row_wrong_bytes() {
  store --lib -- --test-threads=2 --show-output disk::tests::flips disk::tests::mishaps && tests fuse-tests wrong_disk::
}

row_limits() {
  tests fuse-tests limits:: && store --test it -- --test-threads=1 --show-output full::
}

run_row() {
  if declare -F "row_$1" >/dev/null; then "row_$1"; else tests fuse-tests "$1::"; fi
}

cargo build --release --package cairn-cli || exit 1
failed=()
for name in "${rows[@]}"; do
  printf '\n== %s\n' "$name"
  start=$SECONDS
  run_row "$name" || failed+=("$name")
  printf '== %s: %s s\n' "$name" "$((SECONDS - start))"
done
if [ "$set $row" = "accept all" ]; then
  make --no-print-directory bench || failed+=(speed)
fi

[ -s "$CAIRN_FIGURES" ] && { printf '\nFigures\n'; sed 's/^/  /' "$CAIRN_FIGURES"; }
[ -s "$CAIRN_SKIPS" ] && { printf '\nSkipped\n'; sed 's/^/  /' "$CAIRN_SKIPS"; }
if [ ${#failed[@]} -gt 0 ]; then
  printf '\nFailed: %s\n' "${failed[*]}"
  exit 1
fi
printf '\nAll shown.\n'

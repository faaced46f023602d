#!/usr/bin/env bash
# The long forms of the FUSE suites: one row of the acceptance table, or all of them, each at full size.
# Usage: accept.sh ROW   with ROW a module of fuse-tests/tests/it, `all`, or `sweep`.
set -uo pipefail
cd "$(dirname "$0")/.."

row=${1:?which row: first_use judges programs bigdir bigfile at_rest crash wrong_disk memory bad_input all sweep}
rows=(first_use judges programs bigdir bigfile at_rest crash wrong_disk memory bad_input)
[ "$row" = all ] || rows=("$row")
[ "$row" = sweep ] && rows=(sweep)

mkdir -p target
export CAIRN_SKIPS=$PWD/target/accept.skips CAIRN_FIGURES=$PWD/target/accept.figures
: >"$CAIRN_SKIPS"; : >"$CAIRN_FIGURES"
cargo build --release --package cairn-cli || exit 1
[[ " ${rows[*]} " == *" memory "* ]] && { cargo build --release --package cairn-store --features disk --example index_memory || exit 1; }

failed=()
for name in "${rows[@]}"; do
  printf '\n== %s\n' "$name"
  # One at a time: the figures are measured, and a row may fill the memory or the disk.
  CAIRN_SCALE=full cargo test --release --package cairn-fuse-tests --test it -- --test-threads=1 "$name::" || failed+=("$name")
done
if [ "$row" = all ]; then
  make --no-print-directory bench || failed+=(speed)
fi

[ -s "$CAIRN_FIGURES" ] && { printf '\nFigures\n'; sed 's/^/  /' "$CAIRN_FIGURES"; }
[ -s "$CAIRN_SKIPS" ] && { printf '\nSkipped\n'; sed 's/^/  /' "$CAIRN_SKIPS"; }
if [ ${#failed[@]} -gt 0 ]; then
  printf '\nFailed: %s\n' "${failed[*]}"
  exit 1
fi
printf '\nAll shown.\n'

#!/usr/bin/env bash
# `make bench-peers`: the published figures. CAIRN_SCALE=short tries the bench in two minutes and publishes nothing;
# CAIRN_BENCH_ONLY=backup,mount,idle chooses parts, and publishes nothing either.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
export CAIRN_SCALE=${CAIRN_SCALE:-full}
page=docs/BENCHMARKS.md
if [ "$CAIRN_SCALE" != full ] || [ -n "${CAIRN_BENCH_ONLY:-}" ]; then
  page=$target/bench-peers.md
fi
cargo build --release --package cairn-cli --package cairn-fuse-tests
"$target/release/peers" --page "$page" --json "$target/bench-peers.json"
printf '\nWritten to %s and %s\n' "$page" "$target/bench-peers.json"

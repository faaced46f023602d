#!/usr/bin/env bash
# Threads in every order: the tests called `schedules` of the crates that have some, with locks, atomics and threads that a
# scheduler steps through (`--cfg shuttle`). A build of its own, without RocksDB, in target/shuttle.
# CAIRN_SCALE=full plays a million schedules of each; CAIRN_SCHEDULE=… plays again one that failed.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
# Quick to compile, and quick enough to run.
export CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0
# The index of maps has no use for some of what the one of RocksDB needs. That orderings weaker than SeqCst are not told
# apart is known.
export CARGO_TARGET_DIR=$target/shuttle RUSTFLAGS="--cfg shuttle -A dead_code" SHUTTLE_SILENCE_WARNINGS=1
cargo test --quiet --package cairn-store --package cairn-fs --features cairn-store/disk,cairn-store/testing --lib \
  -- --show-output --test-threads="${1:-2}" schedules

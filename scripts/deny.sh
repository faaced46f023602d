#!/usr/bin/env bash
# Has cargo-deny check licences, bans and sources, and the advisories where their database can be had.
# What can't be checked here is said, and written to CAIRN_SKIPS, never counted as passed.
set -uo pipefail
cd "$(dirname "$0")/.."

skip() {
  echo "skipped: $1"
  [ -z "${CAIRN_SKIPS:-}" ] || echo "deny: $1" >>"$CAIRN_SKIPS"
}

if ! cargo deny --version >/dev/null 2>&1; then
  skip "cargo-deny is not installed (cargo install cargo-deny --locked); the floors of deny.toml are held by a test"
  exit 0
fi
failed=0
for manifest in Cargo.toml fuzz/Cargo.toml; do
  cargo deny --offline --manifest-path "$manifest" check --config deny.toml licenses bans sources || failed=1
done
if timeout 60 cargo deny fetch db >/dev/null 2>&1; then
  for manifest in Cargo.toml fuzz/Cargo.toml; do
    cargo deny --manifest-path "$manifest" check --config deny.toml advisories || failed=1
  done
else
  skip "the advisory database can't be had from here"
fi
exit $failed

#!/usr/bin/env bash
# `make test`: every check, each run to its end, then one closing line that sums them all up.
# Leaves the whole output of the tests in target/test.log, the skips with their reasons in target/test.skips
# and the measured figures in target/test.figures.
set -uo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
log=$target/test.log
export CAIRN_SKIPS=$PWD/target/test.skips CAIRN_FIGURES=$PWD/target/test.figures
mkdir -p target && : >"$CAIRN_SKIPS" && : >"$CAIRN_FIGURES"
passed=0 failed=0 failures=()

# One check that is not a cargo test: counts as one test.
check() {
  local name=$1; shift
  local start=$SECONDS
  printf '== %s\n' "$name"
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1)); failures+=("$name")
  fi
  printf '== %s: %s s\n' "$name" "$((SECONDS - start))"
}

component() {
  cargo "$1" --version >/dev/null 2>&1 || rustup component add "$2" >/dev/null 2>&1
  cargo "$1" --version >/dev/null 2>&1 && return 0
  echo "$1: the toolchain has no $2" >>"$CAIRN_SKIPS"
  return 1
}

component fmt rustfmt && check format cargo fmt --all --check
component clippy clippy && check clippy cargo clippy --release --workspace --all-targets --quiet -- -D warnings
# The nodes that the mount is judged with are this binary; its parts are the ones the tests link.
check build cargo build --release --workspace --all-targets --quiet

check schedules scripts/schedules.sh
# Two at a time, eight seconds each: with the build some three minutes. The seeds alone already hold every golden vector.
check fuzz scripts/fuzz.sh "${CAIRN_FUZZ_SECONDS:-8}"
check "supply chain" scripts/deny.sh

printf '== tests\n'
# A hung mount must not hang the gate: the tests have their own deadlines, this is the last one.
timeout --kill-after=30 2400 cargo test --release --workspace --no-fail-fast 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

read -r test_passed test_failed test_ignored < <(awk '
  /^test result:/ { for (i = 1; i <= NF; i++) { if ($i == "passed;") p += $(i-1); if ($i == "failed;") f += $(i-1); if ($i == "ignored;") g += $(i-1) } }
  END { print p + 0, f + 0, g + 0 }' "$log")
[ "$status" -ne 0 ] && [ "$test_failed" -eq 0 ] && { test_failed=1; failures+=("cargo test (status $status)"); }
[ "$status" -eq 0 ] && [ "$test_passed" -eq 0 ] && { test_failed=1; failures+=("cargo test ran no test"); }
while read -r name; do failures+=("$name"); done < <(awk '/^test .* \.\.\. FAILED$/ { print $2 }' "$log")

# A test that skips itself returns as passed: it wrote a line with its reason instead.
skipped=$(wc -l <"$CAIRN_SKIPS")
self_skipped=$(grep -c '^test ' "$CAIRN_SKIPS" || true)
passed=$((passed + test_passed - self_skipped))
failed=$((failed + test_failed))
skipped=$((skipped + test_ignored))

[ -s "$CAIRN_FIGURES" ] && { printf '\nFigures\n'; sed 's/^/  /' "$CAIRN_FIGURES"; }
[ "$skipped" -gt 0 ] && { printf '\nSkipped\n'; sed 's/^/  /' "$CAIRN_SKIPS"; grep -E '^test .* \.\.\. ignored' "$log" | sed 's/^/  /'; }
[ ${#failures[@]} -gt 0 ] && { printf '\nFailed\n'; printf '  %s\n' "${failures[@]}"; }
printf '\n%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]

#!/usr/bin/env bash
# Runs rustc, and has it put libFuzzer's counters into our crates and into the parsers they hand bytes from outside to.
# Only what is built for a target: what the compiler loads itself, macros and their parsers, has no runtime to link.
# Not into everything: each run clears and reads all counters, and a cipher needs none.
set -euo pipefail
rustc=$1; shift
name=
for ((i = 1; i < $#; i++)); do
  [ "${!i}" = --crate-name ] && { j=$((i + 1)); name=${!j}; break; }
done
[[ " $* " == *" --target "* ]] || name=
case $name in
  cairn_*|toml|toml_parser|toml_datetime|winnow|serde_json|bip39|httparse|matchit|jiff)
    exec "$rustc" "$@" --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
      -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
      -Cllvm-args=-sanitizer-coverage-trace-compares ;;
  *) exec "$rustc" "$@" ;;
esac

//! The entry that libFuzzer calls. `CAIRN_FUZZ_TARGET` names the target; see `scripts/fuzz.sh`.
#![no_main]
// The macro exports two functions by name, which is all that is unsafe here; the targets are in the library, which forbids it.
#![allow(unsafe_code)]

libfuzzer_sys::fuzz_target!(init: cairn_fuzz::start(), |data: &[u8]| cairn_fuzz::run(data));

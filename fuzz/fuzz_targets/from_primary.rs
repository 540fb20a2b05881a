//! `FromPrimary`, line by line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    oneport_fuzz::each_line!(FromPrimary, input);
});

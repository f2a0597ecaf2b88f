//! Kept inputs, and a bounded campaign against every reader of bytes from outside.

use std::collections::BTreeSet;

use kinsync_tests::fuzz::{Crash, corpus, targets};

/// Mutations for each target in an ordinary run: a second or two.
const RUNS: u64 = 20_000;

/// Any number; the same one every time, so that a red gate stays red until it is mended.
const SEED: u64 = 7_842;

/// Set by `scripts/fuzz` to make the campaign longer, and to start it elsewhere.
const RUNS_VARIABLE: &str = "KINSYNC_FUZZ_RUNS";
const SEED_VARIABLE: &str = "KINSYNC_FUZZ_SEED";

fn number(variable: &str, otherwise: u64) -> u64 {
    let Ok(text) = std::env::var(variable) else {
        return otherwise;
    };
    text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}"))
}

fn attack(name: &str) {
    let target = targets().into_iter().find(|target| target.name == name).unwrap();
    let outcome = target.campaign(number(RUNS_VARIABLE, RUNS), number(SEED_VARIABLE, SEED));
    if let Err(Crash { target, input }) = outcome {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{target} breaks on {hex}\nKeep these bytes as a file in tests/fuzz/corpus/{target}/.");
    }
}

/// One test for each target, so that they run beside each other and a failure names its reader.
macro_rules! attack_each {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                attack(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_attacked() {
            let attacked = BTreeSet::from([$(stringify!($name)),*]);
            assert_eq!(attacked, targets().iter().map(|target| target.name).collect());
        }
    };
}
attack_each!(
    code,
    declaration,
    pairing_host,
    pairing_request,
    pairing_response,
    sync_request,
    sync_response,
    sync_session,
    ticket,
    trust,
    value,
    value_join,
);

#[test]
fn every_kept_input_has_a_target() {
    let Ok(folders) = std::fs::read_dir(corpus("").as_path()) else { return };
    for folder in folders {
        let name = folder.unwrap().file_name();
        assert!(targets().iter().any(|target| name == target.name), "no target reads {}", name.display());
    }
}

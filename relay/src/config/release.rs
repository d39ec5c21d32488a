//! The short name of what is rolled out: build, shared keys and protocol together.

use std::{fmt::Write as _, ops::RangeInclusive};

use super::Config;

impl Config {
    /// A hash of version, build commit, the keys of `[shared]` and the protocol range, as 12 hex
    /// digits. Equal on nodes that run the same release, whatever else their files say.
    ///
    /// `protocol`: the lowest and highest minor that this build speaks.
    pub fn release(&self, protocol: RangeInclusive<u32>) -> String {
        let mut text = String::new();
        // Debug names every key; a key that is added changes the release, as it should.
        let shared = &self.shared;
        write!(text, "{VERSION}\n{COMMIT:?}\n{shared:?}\n{protocol:?}")
            .expect("writing to a String does not fail");
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let hex = |byte: &u8| format!("{byte:02x}");
        digest
            .as_ref()
            .iter()
            .take(RELEASE_BYTES)
            .map(hex)
            .collect()
    }
}

/// The version of the build.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit of the build, where the builder told.
const COMMIT: Option<&str> = option_env!("CAUSEWAY_COMMIT");
/// Short enough to read out, long enough that two releases of a fleet never share it.
const RELEASE_BYTES: usize = 6;

//! Any text is a configuration or a list of what is wrong with it, each on one line that exists.

use std::path::Path;

use causeway::config::{Config, ConfigError};

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Config::parse(text, Path::new("/etc/causeway")) {
        // Whatever was accepted has a release, and parses the same again.
        Ok(config) => {
            let again = Config::parse(text, Path::new("/etc/causeway")).expect("the same text");
            assert_eq!(config.release(1..=1), again.release(1..=1));
        }
        Err(error) => {
            let line = error.one_line();
            assert!(!line.contains('\n'), "more than a line: {line}");
            let ConfigError::Invalid { problems, .. } = error else {
                panic!("nothing was read from a file: {line}");
            };
            assert!(!problems.is_empty());
            // As editors count: what is unclosed at the end may be on the empty line after the last.
            let lines = text.split('\n').count();
            for problem in problems {
                assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)));
            }
        }
    }
}

//! Any text is a network or a list of what is wrong with it, each on one line that exists; what is a
//! network is printed so that it reads as the same, and has a script or reasons why not.

use netem::{
    tc,
    topology::{Topology, TopologyError},
};

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match text.parse::<Topology>() {
        Ok(topology) => {
            let printed = topology.to_string();
            let again = printed.parse::<Topology>();
            assert_eq!(again.expect("what was printed"), topology, "{printed}");
            // Reasons are part of what may come. Large networks take too long here.
            if topology.hosts().len() < 20 {
                let _ = tc::script(&topology);
            }
        }
        Err(error) => {
            let line = error.one_line();
            assert!(!line.contains(char::is_control), "{line:?}");
            let TopologyError::Invalid { problems, .. } = error else {
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

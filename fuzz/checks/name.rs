//! Any text is a name, a pattern, an address, or a typed error; what was read is written the same,
//! and a name as a pattern matches itself.

use causeway::{config::HostPort, id::NodeId, identity::Pattern};

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(node) = text.parse::<NodeId>() {
        assert_eq!(node.uri(), text);
        let parts = NodeId::try_new(node.trust_domain(), node.region(), node.name());
        assert_eq!(parts.as_ref(), Ok(&node));
        let pattern: Pattern = text.parse().expect("a name is a pattern of one");
        assert!(pattern.matches(&node));
    }
    if let Ok(address) = text.parse::<HostPort>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    // Errors are part of what may come.
    let _ = text.parse::<Pattern>();
}

//! Any bytes are a signed policy or a typed error, and what was decoded can be sent and is then the
//! same. Nothing is signed here: what a signature covers is decoded whether it passes or not.

use causeway::wire::{PolicyStatement, SignedStatement};

/// - `bytes`: a signed statement, or what one is around.
pub(crate) fn check(bytes: &[u8]) {
    if let Ok(signed) = SignedStatement::decode(bytes) {
        check_statement(&signed.statement);
    }
    check_statement(bytes);
}

fn check_statement(bytes: &[u8]) {
    if let Ok(policy) = PolicyStatement::decode(bytes) {
        let again = policy.encode().expect("what was decoded can be sent");
        assert_eq!(PolicyStatement::decode(&again), Ok(policy));
    }
}

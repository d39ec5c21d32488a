//! What carries a signature that was checked.

use std::sync::Arc;

/// A value whose signature the shell has checked, and the bytes that were signed.
///
/// Nothing in this crate can check a signature, and nothing in it takes news of others that is not
/// wrapped in this. So the one place that has to be right is where [`Verified::vouch`] is called.
///
/// The bytes go on to others as they came: encoded again they might differ, as where a newer release
/// added a field that this one skips, and the signature would be void. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    value: Arc<T>,
    signed: Arc<[u8]>,
}

impl<T> Verified<T> {
    /// States that `signed` decodes to `value`, and is signed by who may say so: an advert by the
    /// node that it names, a policy by an administrator.
    ///
    /// - `signed`: what others are to get: the encoding, its signature and what proves its key.
    pub fn vouch(value: T, signed: impl Into<Arc<[u8]>>) -> Self {
        Self {
            value: Arc::new(value),
            signed: signed.into(),
        }
    }

    /// The value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// What others are to get.
    pub fn signed(&self) -> &Arc<[u8]> {
        &self.signed
    }
}

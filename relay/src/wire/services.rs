//! What nodes tell each other about the services that they expose.

use crate::wire::limits::{MAX_SERVICES, is_service_name};

/// Everything that a node exposes; replaces what it declared before on the same link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicesDecl {
    /// Grows with each change.
    pub version: u64,
    /// At most [`MAX_SERVICES`], each name once, in any order.
    pub services: Vec<ServiceDecl>,
}

impl ServicesDecl {
    /// What to send from time to time, so that the peer can notice that it holds something else.
    pub fn digest(&self) -> ServicesDigest {
        ServicesDigest {
            version: self.version,
            digest: digest(&self.services),
            count: u32::try_from(self.services.len()).unwrap_or(u32::MAX),
        }
    }

    /// What keeps the list from being believed, if anything does.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.services.len() > MAX_SERVICES {
            return Some("too many");
        }
        if !self.services.iter().all(|s| is_service_name(&s.name)) {
            return Some("not a name of a service");
        }
        let mut names: Vec<&str> = self.services.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        let twice = names.windows(2).any(|pair| pair[0] == pair[1]);
        twice.then_some("a name twice")
    }
}

/// One service of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceDecl {
    /// Its name, as [`is_service_name`] wants it.
    pub name: String,
    /// What it carries.
    pub kind: ServiceKind,
}

/// What a service carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceKind {
    /// Packets.
    Udp,
    /// Streams.
    Tcp,
    /// What this build does not know. Kept, because the digest covers it.
    Unknown(u32),
}

impl ServiceKind {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::Udp => 1,
            Self::Tcp => 2,
            Self::Unknown(number) => number,
        }
    }

    /// The kind behind a number from the wire.
    pub fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Udp,
            2 => Self::Tcp,
            other => Self::Unknown(other),
        }
    }
}

/// Tells two lists of services apart without naming what is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServicesDigest {
    /// The version of the list.
    pub version: u64,
    /// The first 8 bytes of a SHA-256 over the list, the same for any order of it.
    pub digest: u64,
    /// How many services there are.
    pub count: u32,
}

/// The digest over name and kind of each service, in the order of their names. Both ends of a link
/// compute it, also from different builds: what goes into it may never change.
fn digest(services: &[ServiceDecl]) -> u64 {
    let mut sorted: Vec<&ServiceDecl> = services.iter().collect();
    sorted.sort_unstable();
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for service in sorted {
        // No name holds a zero byte, so that no two lists give the same input.
        context.update(service.name.as_bytes());
        context.update(&[0]);
        context.update(&service.kind.number().to_be_bytes());
    }
    let digest = context.finish();
    let mut head = [0; 8];
    head.copy_from_slice(&digest.as_ref()[..8]);
    u64::from_be_bytes(head)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any list that may be declared, of up to eight services.
    pub(in crate::wire) fn any_services() -> impl Strategy<Value = ServicesDecl> {
        let services = prop::collection::btree_map("[a-zA-Z0-9._-]{1,63}", any::<u32>(), 0..8);
        (any::<u64>(), services).prop_map(|(version, services)| ServicesDecl {
            version,
            services: services
                .into_iter()
                .map(|(name, kind)| ServiceDecl {
                    name,
                    kind: ServiceKind::from_number(kind),
                })
                .collect(),
        })
    }

    fn service(name: &str, kind: ServiceKind) -> ServiceDecl {
        let name = name.to_owned();
        ServiceDecl { name, kind }
    }

    #[test]
    fn digest_is_the_documented_one() {
        // printf 'rtp\0\0\0\0\1web\0\0\0\0\2' | sha256sum | cut -c1-16
        let services = [
            service("web", ServiceKind::Tcp),
            service("rtp", ServiceKind::Udp),
        ];
        assert_eq!(format!("{:016x}", digest(&services)), "6db6a8169c16e224");
        // printf '' | sha256sum | cut -c1-16
        assert_eq!(format!("{:016x}", digest(&[])), "e3b0c44298fc1c14");
    }

    #[test]
    fn lists_are_believed_up_to_the_limit_with_each_name_once() {
        let list = |names: &mut dyn Iterator<Item = String>| ServicesDecl {
            version: 1,
            services: names.map(|name| service(&name, ServiceKind::Udp)).collect(),
        };
        let numbered = |count| list(&mut (0..count).map(|number| format!("s{number}")));
        assert_eq!(numbered(MAX_SERVICES).fault(), None);
        assert_eq!(numbered(MAX_SERVICES + 1).fault(), Some("too many"));
        let twice = ["a", "b", "a"].map(str::to_owned);
        assert_eq!(list(&mut twice.into_iter()).fault(), Some("a name twice"));
        let bad = ["a b"].map(str::to_owned);
        let fault = list(&mut bad.into_iter()).fault();
        assert_eq!(fault, Some("not a name of a service"));
    }

    proptest! {
        #[test]
        fn digest_is_the_same_for_any_order_and_another_for_any_change(
            list in any_services(), seed: usize,
        ) {
            let digest = list.digest();
            let mut turned = list.clone();
            if !turned.services.is_empty() {
                let by = seed % turned.services.len();
                turned.services.rotate_left(by);
            }
            prop_assert_eq!(turned.digest(), digest);
            for index in 0..list.services.len() {
                let mut changed = list.clone();
                let kind = &mut changed.services[index].kind;
                *kind = ServiceKind::from_number(kind.number() ^ 1);
                prop_assert_ne!(changed.digest().digest, digest.digest);
                changed.services.remove(index);
                prop_assert_ne!(changed.digest().digest, digest.digest);
            }
        }
    }
}

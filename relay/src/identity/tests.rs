//! One trust domain, its nodes, and whoever should not be among them.

mod certificate;
mod handshake;
mod material;
mod pki;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    Files, FixedCertificates, Material, MaterialError, Pem, RequiredName,
    pki::{Authority, Leaf, Randomness, Validity},
};
use crate::{
    env::{Certificates, WallClock},
    id::NodeId,
};

const DOMAIN: &str = "example.org";
const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

/// 2030-01-01 00:00:00 UTC.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_893_456_000)
}

fn validity() -> Validity {
    Validity::starting(now(), DAY)
}

fn node(name: &str) -> NodeId {
    NodeId::try_new(DOMAIN, "eu-west", name).unwrap()
}

fn authority(seed: u64) -> Authority {
    Authority::generate(DOMAIN, Randomness::Seed(seed), now()).unwrap()
}

/// The certificate of a node that is as it should be.
fn leaf(name: &str) -> Leaf {
    Leaf::node(&node(name), validity())
}

/// What a node loads whose certificate says `leaf`, signed by `authority`.
fn pem(authority: &Authority, leaf: &Leaf) -> Pem {
    let issued = authority.issue(leaf).unwrap();
    Pem {
        certificate: issued.certificate.into_bytes(),
        key: issued.key.into_bytes(),
        bundle: authority.certificate_pem().as_bytes().to_vec(),
    }
}

fn load(pem: &Pem, now: SystemTime) -> Result<Material, MaterialError> {
    FixedCertificates::new(pem.clone()).load(now)
}

fn material(authority: &Authority, name: &str) -> Material {
    load(&pem(authority, &leaf(name)), now()).unwrap()
}

fn files() -> Files {
    Files {
        certificate: "node.pem".into(),
        key: "node.key".into(),
        bundle: "bundle.pem".into(),
    }
}

/// The error for `pem` at `now`, under the names of [`files`].
fn error_of(pem: &Pem, now: SystemTime) -> String {
    Material::try_new(pem, &files(), &RequiredName::default(), now)
        .unwrap_err()
        .to_string()
}

#[derive(Debug)]
struct At(SystemTime);

impl WallClock for At {
    fn now(&self) -> SystemTime {
        self.0
    }
}

fn at(now: SystemTime) -> Arc<dyn WallClock> {
    Arc::new(At(now))
}

//! What a node would do with a configuration.

use std::io::{self, Write};

use super::table::{fact, table};
use crate::config::{Advertise, Config, Target};

/// Prints what the configuration makes of a node, and which of its files are not there.
pub(super) fn summary(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    let id = config.id();
    let mut text = match config.path() {
        Some(path) => format!("{} can be used. The node\n", path.display()),
        None => "It can be used. The node\n".to_owned(),
    };
    text.push_str(&fact(
        "is",
        format!("{id} of trust domain {}", id.trust_domain()),
    ));
    let workers: Vec<String> = (0..config.workers())
        .map(|worker| config.bind(worker).to_string())
        .collect();
    text.push_str(&fact("binds", format!("UDP {}", workers.join(", "))));
    let advertised = match config.advertise() {
        Advertise::Bound => "the same address".to_owned(),
        Advertise::Listed(addresses) => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            addresses.join(", ")
        }
    };
    text.push_str(&fact("is dialed at", advertised));
    text.push_str(&fact(
        "answers at",
        format!("{} (admin API)", config.admin()),
    ));
    text.push_str(&fact(
        "keeps state",
        format!("in {}", config.state_dir().display()),
    ));
    peers(config, &mut text);
    services(config, &mut text);
    listens(config, &mut text);
    missing_files(config, &mut text);
    out.write_all(text.as_bytes())
}

fn peers(config: &Config, text: &mut String) {
    if config.peers().is_empty() {
        text.push_str("\nIt dials nobody and waits for others.\n");
        return;
    }
    let rows = config.peers().iter().map(|peer| {
        let name = match &peer.id {
            Some(id) => id.to_string(),
            None => "any node".to_owned(),
        };
        let addresses: Vec<String> = peer.addresses.iter().map(ToString::to_string).collect();
        [name, addresses.join(", ")]
    });
    text.push_str("\nIt dials\n");
    text.push_str(&table(["PEER", "AT"], &[], rows));
}

fn services(config: &Config, text: &mut String) {
    if config.services().is_empty() {
        return;
    }
    let rows = config.services().iter().map(|service| {
        let allow = match service.allow.is_empty() {
            true => "nobody (no allow)".to_owned(),
            false => {
                let patterns: Vec<String> = service.allow.iter().map(ToString::to_string).collect();
                patterns.join(", ")
            }
        };
        let address = service.address.to_string();
        [
            service.name.clone(),
            service.transport.word().into(),
            address,
            allow,
        ]
    });
    text.push_str("\nIt exposes\n");
    text.push_str(&table(["SERVICE", "KIND", "AT", "TO"], &[], rows));
}

fn listens(config: &Config, text: &mut String) {
    if config.listens().is_empty() {
        return;
    }
    let rows = config.listens().iter().map(|listen| {
        let to = match &listen.to {
            Target::Node(id) => id.to_string(),
            Target::Region(region) => format!("the nearest of {region}"),
        };
        let kind = listen.transport.word().to_owned();
        let class = listen.class.word().to_owned();
        [
            listen.address.to_string(),
            kind,
            class,
            listen.service.clone(),
            to,
        ]
    });
    text.push_str("\nIt carries\n");
    text.push_str(&table(
        ["FROM", "KIND", "CLASS", "TO SERVICE", "ON"],
        &[],
        rows,
    ));
}

/// A configuration is often checked on another machine, where its files need not be.
fn missing_files(config: &Config, text: &mut String) {
    let identity = config.identity();
    let files = [
        ("identity.certificate", &identity.certificate),
        ("identity.key", &identity.key),
        ("identity.bundle", &identity.bundle),
    ];
    for (key, path) in files {
        if !path.exists() {
            let path = path.display();
            text.push_str(&format!(
                "\nNote: {key} is {path}, which is not on this machine."
            ));
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

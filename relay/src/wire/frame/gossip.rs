//! Frames about the mesh as a whole, and reports about one link.

use std::time::Duration;

use bytes::Bytes;

use router::{
    advert::Version,
    gossip::{BUCKETS, Digest},
    graph::NodeKey,
    window::ArrivalReport,
};

use crate::wire::{
    frame::{FIRST_MINOR, Fields, Frame, FrameError, messages::from_millis},
    limits::{MAX_SIGNED_BYTES, MAX_VERSIONS},
    message,
};

pub(super) fn versions_message(versions: &[Version]) -> message::Versions {
    message::Versions {
        node: versions.iter().map(|version| version.node.0).collect(),
        generation: versions.iter().map(|version| version.generation).collect(),
        sequence: versions.iter().map(|version| version.sequence).collect(),
    }
}

pub(super) fn report_message(report: &ArrivalReport) -> message::LinkReport {
    let (least, most) = report.variation.unzip();
    message::LinkReport {
        highest: Some(report.highest),
        covered: Some(report.covered),
        received: Some(report.received),
        reordered: Some(report.reordered),
        jitter_us: Some(micros(report.jitter)),
        variation_least_us: least.map(micros),
        variation_most_us: most.map(micros),
    }
}

pub(super) fn read_advert(fields: Fields, body: &[u8]) -> Result<Frame, FrameError> {
    let m: message::Advert = fields.message(body)?;
    let signed = read_signed(fields, m.signed)?;
    let age_ms = fields.required(FIRST_MINOR, "age_ms", m.age_ms)?;
    Ok(Frame::Advert {
        signed,
        age: from_millis(age_ms),
    })
}

pub(super) fn read_policy(fields: Fields, body: &[u8]) -> Result<Frame, FrameError> {
    let m: message::Policy = fields.message(body)?;
    let signed = read_signed(fields, m.signed)?;
    Ok(Frame::Policy { signed })
}

/// What it says, and who, is for others to look at.
fn read_signed(fields: Fields, signed: Option<Vec<u8>>) -> Result<Bytes, FrameError> {
    let signed = fields.required(FIRST_MINOR, "signed", signed)?;
    match (1..=MAX_SIGNED_BYTES).contains(&signed.len()) {
        true => Ok(signed.into()),
        false => Err(fields.bad("signed", "not 1 to 40,960 bytes")),
    }
}

/// Whether a version can be is for [`Gossip`](router::gossip::Gossip) to say.
pub(super) fn read_versions(fields: Fields, body: &[u8]) -> Result<Vec<Version>, FrameError> {
    let m: message::Versions = fields.message(body)?;
    let node = fields.some(FIRST_MINOR, "node", m.node)?;
    let generation = fields.some(FIRST_MINOR, "generation", m.generation)?;
    let sequence = fields.some(FIRST_MINOR, "sequence", m.sequence)?;
    if node.len() > MAX_VERSIONS {
        return Err(fields.bad("node", "too many"));
    }
    if generation.len() != node.len() {
        return Err(fields.bad("generation", "not as many as nodes"));
    }
    if sequence.len() != node.len() {
        return Err(fields.bad("sequence", "not as many as nodes"));
    }
    let versions = node.into_iter().zip(generation).zip(sequence);
    let versions = versions.map(|((node, generation), sequence)| Version {
        node: NodeKey(node),
        generation,
        sequence,
    });
    Ok(versions.collect())
}

pub(super) fn read_digest(fields: Fields, body: &[u8]) -> Result<Digest, FrameError> {
    let m: message::AdvertDigest = fields.message(body)?;
    let buckets = fields.some(FIRST_MINOR, "buckets", m.buckets)?;
    let buckets = <[u32; BUCKETS]>::try_from(buckets);
    let buckets = buckets.map_err(|_| fields.bad("buckets", "not 64"))?;
    Ok(Digest(buckets))
}

pub(super) fn read_report(fields: Fields, body: &[u8]) -> Result<ArrivalReport, FrameError> {
    let m: message::LinkReport = fields.message(body)?;
    let jitter_us = fields.required(FIRST_MINOR, "jitter_us", m.jitter_us)?;
    let variation = match (m.variation_least_us, m.variation_most_us) {
        (None, None) => None,
        (Some(least), Some(most)) if least <= most => Some((from_micros(least), from_micros(most))),
        (Some(_), Some(_)) => return Err(fields.bad("variation_least_us", "above the most")),
        (None, Some(_)) | (Some(_), None) => {
            return Err(fields.bad("variation_least_us", "alone"));
        }
    };
    Ok(ArrivalReport {
        highest: fields.required(FIRST_MINOR, "highest", m.highest)?,
        covered: fields.required(FIRST_MINOR, "covered", m.covered)?,
        received: fields.required(FIRST_MINOR, "received", m.received)?,
        reordered: fields.required(FIRST_MINOR, "reordered", m.reordered)?,
        jitter: from_micros(jitter_us),
        variation,
    })
}

/// At most 71 minutes, which no link takes.
fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn from_micros(micros: u32) -> Duration {
    Duration::from_micros(micros.into())
}

//! Control frames to their messages and back.

use std::time::Duration;

use bytes::BytesMut;
use prost::Message;

use crate::{
    code::{FlowCode, RefuseCode},
    wire::{
        frame::{
            FIRST_MINOR, Fields, Frame, FrameError, FrameKind, Open, OpenFlow, TooLong,
            TraceContext, fields::packed_keys, gossip, put_head, relayed,
        },
        limits::clean_text,
        message,
        packet::{Class, Direction},
        services::{ServiceDecl, ServiceKind, ServicesDecl, ServicesDigest},
    },
};

/// Appends a frame to `out`, or nothing.
pub(super) fn put(frame: &Frame, out: &mut BytesMut) -> Result<(), TooLong> {
    let mut put = Put {
        type_number: frame.type_number(),
        out,
    };
    match frame {
        Frame::Hello(hello) => put.message(&hello.to_message()),
        Frame::Promote { epoch } => put.message(&message::Promote {
            epoch: Some(*epoch),
        }),
        Frame::Promoted { epoch } => put.message(&message::Promoted {
            epoch: Some(*epoch),
        }),
        Frame::Probe { id } => put.message(&message::Probe { id: Some(*id) }),
        Frame::ProbeReply { id } => put.message(&message::ProbeReply { id: Some(*id) }),
        Frame::Services(services) => put.message(&services_message(services)),
        Frame::ServicesDigest(digest) => put.message(&message::ServicesDigest {
            version: Some(digest.version),
            digest: Some(digest.digest),
            count: Some(digest.count),
        }),
        Frame::ServicesWanted { have_version } => put.message(&message::ServicesWanted {
            have_version: Some(*have_version),
        }),
        Frame::OpenFlow(open) => put.message(&open_flow_message(open)),
        Frame::FlowAccepted { flow } => put.message(&message::FlowAccepted { flow: Some(*flow) }),
        Frame::FlowRefused { flow, code, reason } => put.message(&message::FlowRefused {
            flow: Some(*flow),
            code: Some(code.number()),
            reason: Some(clean_text(reason)),
        }),
        Frame::CloseFlow {
            flow,
            direction,
            code,
        } => put.message(&message::CloseFlow {
            flow: Some(*flow),
            direction: Some(*direction as u32),
            code: Some(code.number()),
        }),
        Frame::Open(open) => put.message(&open_message(open)),
        Frame::Accept { resume_offset } => put.message(&message::Accept {
            resume_offset: Some(*resume_offset),
        }),
        Frame::Refuse { code, reason } => put.message(&message::Refuse {
            code: Some(code.number()),
            reason: Some(clean_text(reason)),
        }),
        Frame::Advert { signed, age } => put.message(&message::Advert {
            signed: Some(signed.to_vec()),
            age_ms: Some(millis(*age)),
        }),
        Frame::AdvertOffer(versions) | Frame::AdvertRequest(versions) => {
            put.message(&gossip::versions_message(versions))
        }
        Frame::AdvertDigest(digest) => put.message(&message::AdvertDigest {
            buckets: digest.0.to_vec(),
        }),
        Frame::Policy { signed } => put.message(&message::Policy {
            signed: Some(signed.to_vec()),
        }),
        Frame::PolicyDigest { epoch, hash } => put.message(&message::PolicyDigest {
            epoch: Some(*epoch),
            hash: Some(*hash),
        }),
        Frame::LinkReport(report) => put.message(&gossip::report_message(report)),
        Frame::Relayed(relayed) => put.message(&relayed::to_message(relayed)),
        Frame::Unknown { type_number } => put_head(*type_number, 0, put.out),
    }
}

/// Reads the message of any frame but Hello, which needs to know more than the minor.
pub(super) fn read(frame: FrameKind, minor: u32, body: &[u8]) -> Result<Frame, FrameError> {
    let fields = Fields::new(frame, minor);
    let first = FIRST_MINOR;
    Ok(match frame {
        FrameKind::Hello => {
            let type_number = frame.number();
            return Err(FrameError::OutOfPlace { type_number });
        }
        FrameKind::Promote => {
            let m: message::Promote = fields.message(body)?;
            let epoch = fields.required(first, "epoch", m.epoch)?;
            Frame::Promote { epoch }
        }
        FrameKind::Promoted => {
            let m: message::Promoted = fields.message(body)?;
            let epoch = fields.required(first, "epoch", m.epoch)?;
            Frame::Promoted { epoch }
        }
        FrameKind::Probe => {
            let m: message::Probe = fields.message(body)?;
            let id = fields.required(first, "id", m.id)?;
            Frame::Probe { id }
        }
        FrameKind::ProbeReply => {
            let m: message::ProbeReply = fields.message(body)?;
            let id = fields.required(first, "id", m.id)?;
            Frame::ProbeReply { id }
        }
        FrameKind::Services => Frame::Services(read_services(fields, body)?),
        FrameKind::ServicesDigest => {
            let m: message::ServicesDigest = fields.message(body)?;
            Frame::ServicesDigest(ServicesDigest {
                version: fields.required(first, "version", m.version)?,
                digest: fields.required(first, "digest", m.digest)?,
                count: fields.required(first, "count", m.count)?,
            })
        }
        FrameKind::ServicesWanted => {
            let m: message::ServicesWanted = fields.message(body)?;
            let have_version = fields.required(first, "have_version", m.have_version)?;
            Frame::ServicesWanted { have_version }
        }
        FrameKind::OpenFlow => Frame::OpenFlow(read_open_flow(fields, body)?),
        FrameKind::FlowAccepted => {
            let m: message::FlowAccepted = fields.message(body)?;
            let flow = fields.required(first, "flow", m.flow)?;
            Frame::FlowAccepted { flow }
        }
        FrameKind::FlowRefused => {
            let m: message::FlowRefused = fields.message(body)?;
            let code: u32 = fields.required(first, "code", m.code)?;
            Frame::FlowRefused {
                flow: fields.required(first, "flow", m.flow)?,
                code: RefuseCode::from_number(code.into()),
                reason: fields.text(first, "reason", m.reason)?,
            }
        }
        FrameKind::CloseFlow => {
            let m: message::CloseFlow = fields.message(body)?;
            let code: u32 = fields.required(first, "code", m.code)?;
            Frame::CloseFlow {
                flow: fields.required(first, "flow", m.flow)?,
                direction: read_direction(fields, m.direction)?,
                code: FlowCode::from_number(code.into()),
            }
        }
        FrameKind::Open => Frame::Open(read_open(fields, body)?),
        FrameKind::Accept => {
            let m: message::Accept = fields.message(body)?;
            let resume_offset = fields.required(first, "resume_offset", m.resume_offset)?;
            Frame::Accept { resume_offset }
        }
        FrameKind::Refuse => {
            let m: message::Refuse = fields.message(body)?;
            let code: u32 = fields.required(first, "code", m.code)?;
            Frame::Refuse {
                code: RefuseCode::from_number(code.into()),
                reason: fields.text(first, "reason", m.reason)?,
            }
        }
        FrameKind::Advert => gossip::read_advert(fields, body)?,
        FrameKind::AdvertOffer => Frame::AdvertOffer(gossip::read_versions(fields, body)?),
        FrameKind::AdvertRequest => Frame::AdvertRequest(gossip::read_versions(fields, body)?),
        FrameKind::AdvertDigest => {
            Frame::AdvertDigest(Box::new(gossip::read_digest(fields, body)?))
        }
        FrameKind::Policy => gossip::read_policy(fields, body)?,
        FrameKind::PolicyDigest => {
            let m: message::PolicyDigest = fields.message(body)?;
            Frame::PolicyDigest {
                epoch: fields.required(first, "epoch", m.epoch)?,
                hash: fields.required(first, "hash", m.hash)?,
            }
        }
        FrameKind::LinkReport => Frame::LinkReport(gossip::read_report(fields, body)?),
        FrameKind::Relayed => Frame::Relayed(Box::new(relayed::read(fields, body)?)),
    })
}

pub(super) fn read_direction(
    fields: Fields,
    direction: Option<u32>,
) -> Result<Direction, FrameError> {
    let direction = fields.required(FIRST_MINOR, "direction", direction)?;
    numbered(Direction::ALL, direction).ok_or_else(|| fields.bad("direction", "not 0 or 1"))
}

fn read_services(fields: Fields, body: &[u8]) -> Result<ServicesDecl, FrameError> {
    let m: message::Services = fields.message(body)?;
    let services = m.services.into_iter().map(|service| {
        let kind = fields.required(FIRST_MINOR, "service.kind", service.kind)?;
        Ok(ServiceDecl {
            name: fields.required(FIRST_MINOR, "service.name", service.name)?,
            kind: ServiceKind::from_number(kind),
        })
    });
    let services = ServicesDecl {
        version: fields.required(FIRST_MINOR, "version", m.version)?,
        services: services.collect::<Result<_, FrameError>>()?,
    };
    match services.fault() {
        None => Ok(services),
        Some(why) => Err(fields.bad("services", why)),
    }
}

fn read_open_flow(fields: Fields, body: &[u8]) -> Result<OpenFlow, FrameError> {
    open_flow(fields, fields.message(body)?)
}

pub(super) fn open_flow(fields: Fields, m: message::OpenFlow) -> Result<OpenFlow, FrameError> {
    let class = fields.required(FIRST_MINOR, "class", m.class)?;
    let idle_timeout_ms = fields.required(FIRST_MINOR, "idle_timeout_ms", m.idle_timeout_ms)?;
    Ok(OpenFlow {
        flow: fields.required(FIRST_MINOR, "flow", m.flow)?,
        service: fields.service(FIRST_MINOR, "service", m.service)?,
        destination: fields.key(FIRST_MINOR, "destination", m.destination)?,
        class: numbered(Class::ALL, class).ok_or_else(|| fields.bad("class", "not 0 to 3"))?,
        idle_timeout: from_millis(idle_timeout_ms),
        spare: fields.required(FIRST_MINOR, "spare", m.spare)?,
    })
}

fn read_open(fields: Fields, body: &[u8]) -> Result<Open, FrameError> {
    let m: message::Open = fields.message(body)?;
    let budget_ms = fields.required(FIRST_MINOR, "budget_ms", m.budget_ms)?;
    let destination = fields.key(FIRST_MINOR, "destination", m.destination)?;
    let hops = fields.hops(FIRST_MINOR, "hops", m.hops)?;
    let via = fields.keys(FIRST_MINOR, "via", m.via)?;
    fields.check_no_loop(via.iter().chain(hops.as_slice()).copied())?;
    if hops
        .as_slice()
        .last()
        .is_some_and(|last| *last != destination)
    {
        return Err(fields.bad("hops", "not to the destination"));
    }
    Ok(Open {
        session: fields.array(FIRST_MINOR, "session", m.session)?,
        destination,
        service: fields.service(FIRST_MINOR, "service", m.service)?,
        budget: from_millis(budget_ms),
        resume_offset: fields.required(FIRST_MINOR, "resume_offset", m.resume_offset)?,
        trace: m.trace.map(|trace| read_trace(fields, trace)).transpose()?,
        hops,
        via,
    })
}

fn read_trace(fields: Fields, trace: message::TraceContext) -> Result<TraceContext, FrameError> {
    let flags: u32 = fields.required(FIRST_MINOR, "trace.flags", trace.flags)?;
    Ok(TraceContext {
        trace_id: fields.array(FIRST_MINOR, "trace.trace_id", trace.trace_id)?,
        span_id: fields.array(FIRST_MINOR, "trace.span_id", trace.span_id)?,
        flags: u8::try_from(flags).map_err(|_| fields.bad("trace.flags", "not a byte"))?,
    })
}

fn services_message(services: &ServicesDecl) -> message::Services {
    let each = services.services.iter().map(|service| message::Service {
        name: Some(service.name.clone()),
        kind: Some(service.kind.number()),
    });
    message::Services {
        version: Some(services.version),
        services: each.collect(),
    }
}

pub(super) fn open_flow_message(open: &OpenFlow) -> message::OpenFlow {
    message::OpenFlow {
        flow: Some(open.flow),
        service: Some(open.service.clone()),
        destination: Some(open.destination.0.to_vec()),
        class: Some(open.class as u32),
        idle_timeout_ms: Some(millis(open.idle_timeout)),
        spare: Some(open.spare),
    }
}

fn open_message(open: &Open) -> message::Open {
    message::Open {
        session: Some(open.session.to_vec()),
        destination: Some(open.destination.0.to_vec()),
        service: Some(open.service.clone()),
        budget_ms: Some(millis(open.budget)),
        resume_offset: Some(open.resume_offset),
        trace: open.trace.map(|trace| message::TraceContext {
            trace_id: Some(trace.trace_id.to_vec()),
            span_id: Some(trace.span_id.to_vec()),
            flags: Some(trace.flags.into()),
        }),
        hops: Some(packed_keys(open.hops.as_slice())),
        via: Some(packed_keys(&open.via)),
    }
}

struct Put<'a> {
    type_number: u16,
    out: &'a mut BytesMut,
}

impl Put<'_> {
    fn message(&mut self, message: &impl Message) -> Result<(), TooLong> {
        put_head(self.type_number, message.encoded_len(), self.out)?;
        message
            .encode(self.out)
            .expect("a buffer that grows has room");
        Ok(())
    }
}

/// The value with that number in a list that holds each value at its own number.
fn numbered<T: Copy>(all: &[T], number: u32) -> Option<T> {
    all.get(usize::try_from(number).ok()?).copied()
}

/// Never more than is left, so that no hop gets a longer budget than the one before.
pub(super) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

pub(super) fn from_millis(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}

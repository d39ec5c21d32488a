//! From an authenticated connection to a link: both Hellos, checked.

use std::time::{Instant, SystemTime};

use thiserror::Error;
use tokio::time::timeout_at;

use super::frames::{FrameReader, ReadFrameError, encoded};
use crate::{
    code::CloseCode,
    deadline::{Closed, Connection, OpenError, ReadError, SendError, Sender},
    id::{LinkGeneration, NodeGeneration, NodeId, NodeKey},
    identity::{Material, PassedChain, PeerError},
    wire::{CloseReason, Frame, FrameError, Hello, PROTOCOL, TooLong},
};

/// A connection on which both ends have said Hello.
#[derive(Debug)]
pub struct Established {
    /// The connection.
    pub connection: Connection,
    /// Our half of the control stream.
    pub control: Sender,
    /// The peer's half.
    pub frames: FrameReader,
    /// What the peer said.
    pub hello: Hello,
    /// This node's generation, as it was said.
    pub our_generation: NodeGeneration,
    /// The peer, as its certificate names it.
    pub peer: NodeId,
    /// For how long its certificates stand.
    pub passed: PassedChain,
    /// The link's generation, which the dialer has minted.
    pub generation: LinkGeneration,
    /// Whether this node has dialed.
    pub dialed: bool,
    /// The minor of the protocol that both speak.
    pub minor: u32,
    /// When the dial was started, or the dialer's first packet came.
    pub began: Instant,
}

/// The times of a set-up.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// When the dial was started, or the dialer's first packet came.
    pub began: Instant,
    /// By when both Hellos must be through.
    pub deadline: Instant,
    /// The date, for certificates.
    pub date: SystemTime,
}

/// Says Hello first, and waits for the peer's.
///
/// - `hello`: makes this node's Hello for the peer, with the new link's generation. Asked for when
///   it is sent: what it says of the link that is held must be true then.
///
/// # Errors
/// [`SetupError`]; the connection is closed with its code.
///
/// # Cancel safety
/// Not cancel safe: drop the connection with the future.
pub async fn dialed(
    connection: Connection,
    hello: impl FnOnce(&NodeId) -> Hello,
    material: &Material,
    times: Times,
) -> Result<Established, SetupError> {
    let exchange = async {
        let deadline = times.deadline;
        let (peer, passed) = certified(&connection, material, times)?;
        let (mut control, receiver) = connection.open(deadline).await?;
        let mut frames = FrameReader::control(receiver, PROTOCOL);
        let ours = hello(&peer);
        say(&mut control, &ours, deadline).await?;
        let hello = hear(&mut frames, deadline).await?;
        check(&ours, &hello, &peer)?;
        if hello.link != ours.link {
            return Err(SetupError::OtherLink);
        }
        Ok((
            Exchanged {
                control,
                frames,
                hello,
                peer,
                passed,
            },
            ours.generation,
        ))
    };
    let (exchanged, ours) = exchange.await.map_err(|error| refuse(&connection, error))?;
    Ok(exchanged.into_link(connection, ours, times.began, true))
}

/// Waits for the dialer's Hello and answers it.
///
/// - `answer`: makes this node's Hello for the peer, given the link's generation.
///
/// # Errors
/// [`SetupError`]; the connection is closed with its code.
///
/// # Cancel safety
/// Not cancel safe: drop the connection with the future.
pub async fn accepted(
    connection: Connection,
    answer: impl FnOnce(&NodeId, LinkGeneration) -> Hello,
    material: &Material,
    times: Times,
) -> Result<Established, SetupError> {
    let exchange = async {
        let deadline = times.deadline;
        let (peer, passed) = certified(&connection, material, times)?;
        let stream = timeout_at(deadline.into(), connection.accept_stream()).await;
        let (mut control, receiver) = stream.map_err(|_| SetupError::NoControlStream)??;
        let mut frames = FrameReader::control(receiver, PROTOCOL);
        let hello = hear(&mut frames, deadline).await?;
        let ours = answer(&peer, hello.link);
        check(&ours, &hello, &peer)?;
        if hello.link.dialer != peer.key() || hello.link.node != hello.generation {
            return Err(SetupError::OtherLink);
        }
        say(&mut control, &ours, deadline).await?;
        Ok((
            Exchanged {
                control,
                frames,
                hello,
                peer,
                passed,
            },
            ours.generation,
        ))
    };
    let (exchanged, ours) = exchange.await.map_err(|error| refuse(&connection, error))?;
    Ok(exchanged.into_link(connection, ours, times.began, false))
}

struct Exchanged {
    control: Sender,
    frames: FrameReader,
    hello: Hello,
    peer: NodeId,
    passed: PassedChain,
}

impl Exchanged {
    fn into_link(
        self,
        connection: Connection,
        our_generation: NodeGeneration,
        began: Instant,
        dialed: bool,
    ) -> Established {
        let Self {
            control,
            frames,
            hello,
            peer,
            passed,
        } = self;
        // The lowest that a Hello can settle on, should the decoder not have said.
        let minor = frames.minor().unwrap_or(PROTOCOL.min);
        let generation = hello.link;
        Established {
            connection,
            control,
            frames,
            hello,
            our_generation,
            peer,
            passed,
            generation,
            dialed,
            minor,
            began,
        }
    }
}

/// The node of the peer's certificate, which has passed the handshake under the same rules.
fn certified(
    connection: &Connection,
    material: &Material,
    times: Times,
) -> Result<(NodeId, PassedChain), PeerError> {
    PassedChain::check(material, &connection.peer_chain(), times.date)
}

async fn say(control: &mut Sender, ours: &Hello, deadline: Instant) -> Result<(), SetupError> {
    let hello = encoded(&Frame::Hello(Box::new(ours.clone())))?;
    Ok(control.write(hello, deadline).await?)
}

async fn hear(frames: &mut FrameReader, deadline: Instant) -> Result<Hello, SetupError> {
    match frames.next_by(deadline).await? {
        Frame::Hello(hello) => Ok(*hello),
        other => Err(SetupError::NotHello {
            type_number: other.type_number(),
        }),
    }
}

/// What Hello and certificate, and both nodes' names, must agree on.
fn check(ours: &Hello, theirs: &Hello, certified: &NodeId) -> Result<(), SetupError> {
    if theirs.node != *certified {
        let (certificate, hello) = (certified.clone(), theirs.node.clone());
        return Err(SetupError::WrongName { certificate, hello });
    }
    if theirs.node == ours.node {
        return Err(SetupError::Myself);
    }
    if theirs.node.key() == ours.node.key() {
        let (key, peer) = (theirs.node.key(), theirs.node.clone());
        return Err(SetupError::KeyCollision { key, peer });
    }
    Ok(())
}

/// Closes the connection with the error's code and text, so that the other end can say why.
fn refuse(connection: &Connection, error: SetupError) -> SetupError {
    let reason = CloseReason::new(error.code(), error.to_string());
    connection.close(error.code(), &reason.encode());
    error
}

/// Why a connection did not become a link.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The peer's certificate does not pass.
    #[error("the peer's certificate: {0}")]
    Certificate(#[from] PeerError),
    /// The node key of the peer is that of another name.
    #[error("node key {key} belongs to {peer} and to this node: rename one of them")]
    KeyCollision {
        /// The key of both.
        key: NodeKey,
        /// The peer.
        peer: NodeId,
    },
    /// The node has dialed itself.
    #[error("the address leads to this node itself")]
    Myself,
    /// The connection ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// Our own Hello is larger than a frame.
    #[error("this node's own Hello: {0}")]
    Frame(#[from] TooLong),
    /// The dialer has opened no control stream in time.
    #[error("no control stream at the deadline")]
    NoControlStream,
    /// What came first was not a Hello.
    #[error("the peer sent a frame of type {type_number} where Hello was expected")]
    NotHello {
        /// The frame that came.
        type_number: u16,
    },
    /// The control stream could not be opened.
    #[error("control stream: {0}")]
    Open(#[from] OpenError),
    /// Hello names another link than this one.
    #[error("the peer's Hello is about another link")]
    OtherLink,
    /// The peer's Hello could not be read.
    #[error("reading Hello: {0}")]
    Read(#[from] ReadFrameError),
    /// Hello could not be written.
    #[error("writing Hello: {0}")]
    Write(#[from] SendError),
    /// Hello and certificate name different nodes.
    #[error("the certificate names {certificate}, Hello names {hello}")]
    WrongName {
        /// As certified.
        certificate: NodeId,
        /// As said.
        hello: NodeId,
    },
}

impl SetupError {
    /// The code with which the connection is closed.
    pub fn code(&self) -> CloseCode {
        match self {
            Self::Certificate(_) => CloseCode::Untrusted,
            Self::KeyCollision { .. } => CloseCode::KeyCollision,
            Self::Myself => CloseCode::Myself,
            Self::WrongName { .. } => CloseCode::WrongName,
            Self::Read(ReadFrameError::Frame(error)) => error.close_code(),
            Self::Closed(_)
            | Self::NoControlStream
            | Self::Open(_)
            | Self::Read(ReadFrameError::Read(_))
            | Self::Write(_) => CloseCode::SetupTimeout,
            Self::Frame(_)
            | Self::NotHello { .. }
            | Self::OtherLink
            | Self::Read(ReadFrameError::Ended) => CloseCode::Malformed,
        }
    }

    /// How the connection ended, if that is the reason.
    pub fn closed(&self) -> Option<&Closed> {
        match self {
            Self::Closed(closed)
            | Self::Open(OpenError::Closed(closed))
            | Self::Read(ReadFrameError::Read(ReadError::Closed(closed)))
            | Self::Write(SendError::Closed(closed)) => Some(closed),
            _ => None,
        }
    }

    /// What was wrong with the peer's frame, if that is the reason.
    pub fn frame(&self) -> Option<&FrameError> {
        match self {
            Self::Read(ReadFrameError::Frame(error)) => Some(error),
            _ => None,
        }
    }
}

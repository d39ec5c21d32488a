//! Asks a running node about itself.

use std::{error::Error, io, time::Duration};

use axum::{
    body::Body,
    http::{Request, request::Builder},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{
    AdminAddress,
    listener::Stream,
    view::{
        EchoView, HealthView, MeshView, PeerDetailView, PeerView, PolicyView, ReadyView,
        RefusalView, RouteDetailView, RouteView, StatusView, TaskView,
    },
};

/// A client of one node's admin API. Each question has a connection and a deadline of its own.
///
/// All its futures are cancel safe: dropping one closes its connection.
#[derive(Debug, Clone)]
pub struct Client {
    address: AdminAddress,
    deadline: Duration,
}

impl Client {
    /// A client of the node at `address`, which waits `deadline` for each answer.
    pub fn new(address: AdminAddress, deadline: Duration) -> Self {
        Self { address, deadline }
    }

    /// Whether the process works; also an answer when it does not.
    ///
    /// # Errors
    /// As [`ClientError`] says; so for all questions.
    pub async fn health(&self) -> Result<HealthView, ClientError> {
        self.ask("/healthz").await
    }

    /// Whether the node should get traffic; also an answer when it should not.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn ready(&self) -> Result<ReadyView, ClientError> {
        self.ask("/readyz").await
    }

    /// The node's instruments, as Prometheus text.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let body = self.fetch("/metrics").await?;
        String::from_utf8(body).map_err(|error| self.nonsense(error))
    }

    /// The node itself.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        self.ask("/v1/status").await
    }

    /// Its peers.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn peers(&self) -> Result<Vec<PeerView>, ClientError> {
        self.ask("/v1/peers").await
    }

    /// Everything about one peer: `region/name`, or just the name where one peer has it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if there is no such peer, else as [`ClientError`] says.
    pub async fn peer(&self, name: &str) -> Result<PeerDetailView, ClientError> {
        self.ask(&format!("/v1/peers/{}", escape(name))).await
    }

    /// Its tasks.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn tasks(&self) -> Result<Vec<TaskView>, ClientError> {
        self.ask("/v1/tasks").await
    }

    /// How its traffic goes.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn routes(&self) -> Result<Vec<RouteView>, ClientError> {
        self.ask("/v1/routes").await
    }

    /// How its traffic for one node goes, and what led to that: `region/name`, or just the name
    /// where one node has it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if there is no such node, else as [`ClientError`] says.
    pub async fn route(&self, name: &str) -> Result<RouteDetailView, ClientError> {
        self.ask(&format!("/v1/routes/{}", escape(name))).await
    }

    /// What it knows of the mesh.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn mesh(&self) -> Result<MeshView, ClientError> {
        self.ask("/v1/mesh").await
    }

    /// Has it ask another node for an echo, or the node at the end of link `hop` of the path there,
    /// counted from 1. An echo that does not come back is an answer too.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if there is no such node or hop, else as [`ClientError`] says.
    pub async fn echo(&self, name: &str, hop: Option<usize>) -> Result<EchoView, ClientError> {
        let name = escape(name);
        match hop {
            Some(hop) => self.ask(&format!("/v1/echo/{name}?hop={hop}")).await,
            None => self.ask(&format!("/v1/echo/{name}")).await,
        }
    }

    /// The policy of the fleet that it goes by.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn policy(&self) -> Result<Option<PolicyView>, ClientError> {
        self.ask("/v1/policy").await
    }

    /// Brings it a policy of the fleet, as an administrator signed it; what is in force then.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if it does not take it, else as [`ClientError`] says.
    pub async fn apply_policy(&self, signed: Vec<u8>) -> Result<PolicyView, ClientError> {
        let body = self.exchanged(Request::post("/v1/policy"), signed).await?;
        serde_json::from_slice(&body).map_err(|error| self.nonsense(error))
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = self.fetch(path).await?;
        serde_json::from_slice(&body).map_err(|error| self.nonsense(error))
    }

    async fn fetch(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        self.exchanged(Request::get(path), Vec::new()).await
    }

    async fn exchanged(&self, request: Builder, body: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        match timeout(self.deadline, self.exchange(request, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Deadline {
                address: self.address.clone(),
                deadline: self.deadline,
            }),
        }
    }

    async fn exchange(&self, request: Builder, body: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        let stream = self.connect().await.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Denied {
                address: self.address.clone(),
            },
            _ => ClientError::NotAnswering {
                address: self.address.clone(),
                source,
            },
        })?;
        let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream))
            .await
            .map_err(|error| self.nonsense(error))?;
        let request = request
            .header("host", "causeway")
            .body(Body::from(body))
            .map_err(|error| self.nonsense(error))?;
        let answer = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| self.nonsense(error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
            let body = body
                .await
                .map_err(|error| match error.is::<LengthLimitError>() {
                    true => self.nonsense(format!("an answer above {MAX_ANSWER_BYTES} bytes")),
                    false => self.nonsense(error),
                })?;
            Ok((status, body.to_bytes().to_vec()))
        };
        tokio::pin!(answer, connection);
        let (status, body) = tokio::select! {
            biased;
            answer = &mut answer => answer?,
            // The connection ends with the answer, which may then still have to be read.
            _ = &mut connection => answer.await?,
        };
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<RefusalView>(&body) {
            Ok(refusal) => Err(ClientError::Refused {
                reason: refusal.error,
            }),
            // "Not healthy" and "not ready" are answers, not refusals.
            Err(_) => Ok(body),
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match &self.address {
            AdminAddress::Tcp(address) => Ok(Box::new(TcpStream::connect(address).await?)),
            AdminAddress::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        }
    }

    fn nonsense(&self, source: impl Into<Box<dyn Error + Send + Sync>>) -> ClientError {
        ClientError::Protocol {
            address: self.address.clone(),
            source: source.into(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The node took the connection and did not answer in time.
    #[error("the node at {address} did not answer within {} s", deadline.as_secs_f64())]
    Deadline {
        /// The admin API asked.
        address: AdminAddress,
        /// How long it was waited for.
        deadline: Duration,
    },
    /// The socket belongs to another user.
    #[error("{address} may not be opened by this user")]
    Denied {
        /// The admin API asked.
        address: AdminAddress,
    },
    /// Nobody listens there.
    #[error(
        "no node answers at {address}: is it running? (--admin or CAUSEWAY_ADMIN names another)"
    )]
    NotAnswering {
        /// The admin API asked.
        address: AdminAddress,
        /// What the operating system says.
        source: io::Error,
    },
    /// What answers there is no node, or one of a release that differs too much.
    #[error("what answers at {address} does not speak as a node does: {source}")]
    Protocol {
        /// The admin API asked.
        address: AdminAddress,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The node refused the question.
    #[error("{reason}")]
    Refused {
        /// What the node says.
        reason: String,
    },
}

/// Percent-encodes what may not stand in a path.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                escaped.push(char::from(byte));
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

/// A thousand peers are some hundred kilobytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

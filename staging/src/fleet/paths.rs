//! Which path a node uses to another, as its admin API says.

use std::{io, path::PathBuf, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

/// The regions that traffic crosses, from where it is sent to where it goes.
///
/// Every region of the demo has one node, so regions say as much as nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInUse {
    regions: Vec<String>,
}

impl PathInUse {
    /// The path over `regions`, the first and the last included; none if there are fewer than two.
    pub fn new(regions: impl IntoIterator<Item = impl Into<String>>) -> Option<Self> {
        let regions: Vec<String> = regions.into_iter().map(Into::into).collect();
        (regions.len() >= 2).then_some(Self { regions })
    }

    /// Whether nothing lies between its ends.
    pub fn is_direct(&self) -> bool {
        self.regions.len() == 2
    }

    /// Its regions, the first and the last included.
    pub fn regions(&self) -> &[String] {
        &self.regions
    }
}

/// Asks one node for its path to another.
#[derive(Debug, Clone)]
pub struct PathClient {
    socket: PathBuf,
    /// As nodes are named in the answer: `region/name`.
    from: String,
    to: String,
}

impl PathClient {
    /// For the path from node `from` with the admin API at `socket` to node `to`, both
    /// `region/name`.
    pub fn new(socket: PathBuf, from: String, to: String) -> Self {
        Self { socket, from, to }
    }

    /// The path that interactive traffic takes now; none if the node knows none or does not say.
    ///
    /// # Cancel safety
    /// Cancel safe: the connection is closed.
    pub async fn ask(&self) -> Option<PathInUse> {
        let answer = timeout(DEADLINE, self.fetch()).await.ok()?.ok()?;
        path(body(&answer)?, &self.from, &self.to)
    }

    async fn fetch(&self) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        // By the older protocol the answer is neither cut into chunks nor followed by another.
        stream
            .write_all(b"GET /v1/routes HTTP/1.0\r\nhost: causeway\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        stream
            .take(MAX_ANSWER_BYTES)
            .read_to_end(&mut answer)
            .await?;
        Ok(answer)
    }
}

/// What follows the header of an answer that is one: a node without the listing refuses.
fn body(answer: &[u8]) -> Option<&[u8]> {
    let status = answer.strip_prefix(b"HTTP/1.")?.get(1..)?;
    if !status.starts_with(b" 200 ") {
        return None;
    }
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    Some(&answer[end + 4..])
}

fn path(body: &[u8], from: &str, to: &str) -> Option<PathInUse> {
    /// What of an entry is of use here.
    #[derive(Deserialize)]
    struct Route {
        to: String,
        kind: String,
        path: Option<Vec<String>>,
    }
    let routes: Vec<Route> = serde_json::from_slice(body).ok()?;
    let ours = |route: &Route| route.to == to && route.kind == "interactive";
    let path = routes.into_iter().find(ours)?.path?;
    // Whether the node itself is listed makes no difference.
    let after = path.strip_prefix(&[from.to_owned()][..]).unwrap_or(&path);
    let nodes = std::iter::once(from).chain(after.iter().map(String::as_str));
    let region = |node: &str| {
        node.split_once('/')
            .map_or(node, |(region, _)| region)
            .to_owned()
    };
    PathInUse::new(nodes.map(region))
}

/// An answer is there within a millisecond; the rest is for a busy machine.
const DEADLINE: Duration = Duration::from_millis(500);
/// Some hundred times what a mesh of four answers.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    const ROUTES: &str = r#"[
        {"to": "eu/eu-1", "kind": "bulk", "path": ["eu/eu-1"], "why": "direct", "cost_ms": 70.0},
        {"to": "eu/eu-1", "kind": "interactive", "path": ["ca/ca-1", "eu/eu-1"],
         "why": "direct is down", "cost_ms": 86.0, "backup": null},
        {"to": "ap/ap-1", "kind": "interactive", "path": ["ap/ap-1"], "backup": ["eu/eu-1"]}
    ]"#;

    /// What a node that answers `answer` is understood to say.
    async fn asked(answer: String) -> Option<PathInUse> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("node.sock");
        let node = UnixListener::bind(&socket).unwrap();
        let client = PathClient::new(socket, "us/us-1".to_owned(), "eu/eu-1".to_owned());
        let serve = async {
            let (mut stream, _) = node.accept().await.unwrap();
            let mut request = [0; 1_024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /v1/routes "));
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        tokio::join!(client.ask(), serve).0
    }

    #[tokio::test]
    async fn the_path_is_that_of_interactive_traffic_to_the_other_node() {
        let path = asked(format!("HTTP/1.0 200 OK\r\n\r\n{ROUTES}")).await;
        assert_eq!(path, PathInUse::new(["us", "ca", "eu"]));
    }

    #[tokio::test]
    async fn a_node_without_the_listing_has_no_known_path() {
        let refusal = "HTTP/1.0 404 Not Found\r\n\r\n{\"error\": \"no such thing\"}";
        assert_eq!(asked(refusal.to_owned()).await, None);
        let none = "HTTP/1.0 200 OK\r\n\r\n[]";
        assert_eq!(asked(none.to_owned()).await, None);
    }

    #[test]
    fn a_path_that_begins_with_the_node_itself_is_the_same_path() {
        let direct = |nodes: &str| {
            let body = format!(r#"[{{"to": "eu/eu-1", "kind": "interactive", "path": {nodes}}}]"#);
            path(body.as_bytes(), "us/us-1", "eu/eu-1").unwrap()
        };
        let path = direct(r#"["us/us-1", "eu/eu-1"]"#);
        assert!(path.is_direct());
        assert_eq!(path, direct(r#"["eu/eu-1"]"#));
    }
}

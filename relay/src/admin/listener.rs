//! Binds the admin API's socket.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};

use super::AdminAddress;

/// A bound socket for [`serve`](super::serve). Dropping it closes it and removes its file.
#[derive(Debug)]
pub struct AdminListener {
    socket: Bound,
    /// Removed only after the socket above is closed.
    _file: Option<SocketFile>,
    address: AdminAddress,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What a connection of either kind can do.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl AdminListener {
    /// Binds `address`. A Unix socket gets mode 0600; a file that a dead node left is replaced, one
    /// that somebody listens on is not. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// - [`ListenError::InUse`]: another process listens there.
    /// - [`ListenError::NotASocket`]: there is a file, and it is not a socket.
    /// - [`ListenError::Bind`]: as the operating system says.
    pub fn bind(address: &AdminAddress) -> Result<Self, ListenError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse {
                address: address.clone(),
            },
            _ => ListenError::Bind {
                address: address.clone(),
                source,
            },
        };
        match address {
            AdminAddress::Tcp(tcp) => {
                let socket = bind_tcp(*tcp).map_err(failed)?;
                let bound = socket.local_addr().map_err(failed)?;
                Ok(Self {
                    socket: Bound::Tcp(socket),
                    _file: None,
                    address: AdminAddress::Tcp(bound),
                })
            }
            AdminAddress::Unix(path) => {
                remove_stale(path)?;
                let (socket, file) = bind_unix(path).map_err(failed)?;
                Ok(Self {
                    socket: Bound::Unix(socket),
                    _file: Some(file),
                    address: address.clone(),
                })
            }
        }
    }

    /// The address that is bound, with the port it got.
    pub fn address(&self) -> &AdminAddress {
        &self.address
    }

    /// Waits for the next connection. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match &self.socket {
            Bound::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
            Bound::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A node that was just restarted finds its old connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::at(path)?;
    // Until `listen`, nobody can connect: there is no moment at which others may come in.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let address = || AdminAddress::Unix(path.to_owned());
    let bind = |source| ListenError::Bind {
        address: address(),
        source,
    };
    let file_type = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(bind(source)),
    };
    if !file_type.is_socket() {
        return Err(ListenError::NotASocket { address: address() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(bind)
        }
        Ok(_) => Err(ListenError::InUse { address: address() }),
        Err(source) => Err(bind(source)),
    }
}

/// A socket's file, removed with it unless somebody else's took its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: file_identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_identity(&self.path).is_ok_and(|found| found == self.identity) {
            // Left behind, it is stale, and the next start replaces it.
            fs::remove_file(&self.path).ok();
        }
    }
}

fn file_identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Why the admin API is not served.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The socket could not be made.
    #[error("{address} cannot be listened at: {source}")]
    Bind {
        /// Where.
        address: AdminAddress,
        /// What the operating system says.
        source: io::Error,
    },
    /// Another process listens there.
    #[error("{address} cannot be listened at: another process does (is a node running?)")]
    InUse {
        /// Where.
        address: AdminAddress,
    },
    /// There is a file, and it is not a socket.
    #[error("{address} cannot be listened at: that file is not a socket, and stays")]
    NotASocket {
        /// Where.
        address: AdminAddress,
    },
}

/// Connections that wait to be accepted; more than the server takes at once would wait anyway.
const BACKLOG: i32 = 64;

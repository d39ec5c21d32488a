//! Free ports of the loopback address, all different.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
};

/// Ports that are free for as long as this holds them.
///
/// The operating system chooses them. Between dropping this and the moment when somebody binds
/// them another program may get one of them; then the fleet has to be started again with others.
#[derive(Debug, Default)]
pub struct Ports {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

impl Ports {
    /// Takes a UDP port and keeps it.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn udp(&mut self) -> io::Result<SocketAddr> {
        let socket = UdpSocket::bind(ANY_PORT)?;
        let address = socket.local_addr()?;
        self.udp.push(socket);
        Ok(address)
    }

    /// Takes a TCP port and keeps it.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn tcp(&mut self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(ANY_PORT)?;
        let address = listener.local_addr()?;
        self.tcp.push(listener);
        Ok(address)
    }
}

/// A port of this machine's own address that the operating system chooses.
pub const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

//! The device through which a region's packets leave and enter.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::{Addresses, EnterError, Namespace, netlink};

/// A TUN device `netem0` inside a namespace; dropping it removes it.
///
/// Its packets are whole IP packets, without anything before them. The device offers no
/// offloads, so the kernel cuts them to the MTU and computes their checksums before they come
/// out here, and verifies those that go in. Without a link-local address it solicits nobody, so
/// nothing comes out that no program of the region sent.
pub struct Tun {
    device: SyncDevice,
}

/// What a TUN device is made with.
#[derive(Debug, Clone, Copy)]
pub struct TunConfig {
    /// Bytes of the largest IP packet. Default 1,500; must be at least [`MIN_MTU`].
    pub mtu: u16,
    /// Packets that wait for [`Tun::recv`]; the kernel drops what goes over. Default 10,000: at
    /// 100,000 packets/s the reader may be late by 100 ms, where the kernel's own 500 would lose
    /// packets after 5. Full of large packets it holds some 25 MB.
    pub queue_packets: u32,
}

impl Default for TunConfig {
    fn default() -> Self {
        Self {
            mtu: 1_500,
            queue_packets: 10_000,
        }
    }
}

/// Why a TUN device could not be made. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// It exists, but could not be configured.
    #[error("cannot configure the TUN device {DEVICE}")]
    Configure {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The namespace could not be entered.
    #[error("cannot make the TUN device {DEVICE}")]
    Enter {
        /// Why.
        #[source]
        source: EnterError,
    },
    /// The kernel made no device.
    #[error("cannot make the TUN device {DEVICE}")]
    Make {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// IPv6 needs more.
    #[error("an MTU is at least {MIN_MTU} bytes, got {mtu}")]
    MtuTooSmall {
        /// The MTU in bytes.
        mtu: u16,
    },
}

impl Tun {
    /// Makes the device of a region, with its addresses and the default routes over it. Both
    /// families can be used at once.
    ///
    /// # Errors
    /// [`TunError`], for example if the namespace has such a device already.
    pub fn make(
        namespace: &Namespace,
        addresses: Addresses,
        config: TunConfig,
    ) -> Result<Self, TunError> {
        if config.mtu < MIN_MTU {
            return Err(TunError::MtuTooSmall { mtu: config.mtu });
        }
        namespace
            .run_in(|| Self::make_here(addresses, config))
            .map_err(|source| TunError::Enter { source })?
    }

    /// Receives one packet that the region sent; what does not fit in `buffer` is cut off.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none; others if the device is gone.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.device.recv(buffer)
    }

    /// Hands one packet to the region.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if it begins like no IP packet, [`io::ErrorKind::WouldBlock`]
    /// if the kernel has no room, others if the device is gone. The region gets nothing then.
    pub fn send(&self, packet: &[u8]) -> io::Result<usize> {
        self.device.send(packet)
    }

    /// In the thread's namespace.
    fn make_here(addresses: Addresses, config: TunConfig) -> Result<Self, TunError> {
        let make = || {
            let device = DeviceBuilder::new()
                .name(DEVICE)
                .layer(Layer::L3)
                .packet_information(false)
                .offload(false)
                // It must not come up before it is configured to be quiet.
                .enable(false)
                .build_sync()?;
            device.set_nonblocking(true)?;
            Ok((device.if_index()?, device))
        };
        let (index, device) = make().map_err(|source| TunError::Make { source })?;
        netlink::bring_up(&netlink::Device {
            index,
            mtu: config.mtu.into(),
            queue_packets: config.queue_packets,
            addresses,
        })
        .map_err(|source| TunError::Configure { source })?;
        Ok(Self { device })
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl std::fmt::Debug for Tun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tun")
    }
}

/// The same in every namespace, so that it can be named in rules and captures.
pub(super) const DEVICE: &str = "netem0";

/// The kernel turns IPv6 off below it (RFC 8200 section 5).
pub const MIN_MTU: u16 = 1_280;

//! Configures the devices of the calling thread's namespace.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    pin::pin,
    time::Duration,
};

use futures_util::TryStreamExt;
use rtnetlink::{
    Error, Handle, LinkUnspec, RouteMessageBuilder,
    packet_route::{
        link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute},
        route::{RouteAddress, RouteAttribute, RouteType},
    },
};

use super::Addresses;

pub(super) fn bring_up_loopback() -> io::Result<()> {
    configure(async |netlink| {
        let up = LinkUnspec::new_with_name("lo").up().build();
        netlink.link().set(up).execute().await
    })
}

/// What a device gets.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) index: u32,
    pub(super) mtu: u32,
    pub(super) queue_packets: u32,
    pub(super) addresses: Addresses,
}

/// Brings a device up with its addresses, and sends everything through it.
pub(super) fn bring_up(device: &Device) -> io::Result<()> {
    let Device {
        index, addresses, ..
    } = *device;
    configure(async |netlink| {
        // First of all: bringing it up with link-local addresses would solicit routers.
        let no_link_local = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let configured = LinkUnspec::new_with_index(index)
            .mtu(device.mtu)
            .txqueuelen(device.queue_packets)
            .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(
                vec![no_link_local],
            )]))
            .build();
        netlink.link().set(configured).execute().await?;
        let up = LinkUnspec::new_with_index(index).up().build();
        netlink.link().set(up).execute().await?;
        for (address, prefix_length) in [(addresses.v4.into(), 32), (addresses.v6.into(), 128)] {
            let address = netlink.address().add(index, address, prefix_length);
            address.execute().await?;
        }
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index);
        netlink.route().add(v4.build()).execute().await?;
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index);
        netlink.route().add(v6.build()).execute().await?;
        // There is no ARP, so the kernel detects no duplicates; but it takes an IPv6 address into
        // use on a thread of its own, and until then it can be neither bound nor reached.
        for _ in 0..READY_ATTEMPTS {
            if is_reachable(&netlink, addresses.v6).await? {
                return Ok(());
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
        Err(Error::NamespaceError(format!(
            "{} stays unusable",
            addresses.v6
        )))
    })
}

/// Whether packets to this address are for this namespace: the last thing that an address gets.
async fn is_reachable(netlink: &Handle, address: Ipv6Addr) -> Result<bool, Error> {
    let all = RouteMessageBuilder::<Ipv6Addr>::new().build();
    let mut routes = pin!(netlink.route().get(all).execute());
    let destination = RouteAttribute::Destination(RouteAddress::Inet6(address));
    let mut is_reachable = false;
    // To the end: the kernel refuses another request while it still answers this one.
    while let Some(route) = routes.try_next().await? {
        is_reachable |=
            route.header.kind == RouteType::Local && route.attributes.contains(&destination);
    }
    Ok(is_reachable)
}

/// Runs `requests` on a connection to the kernel, which speaks for the thread's namespace.
fn configure(requests: impl AsyncFnOnce(Handle) -> Result<(), Error>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _context = runtime.enter();
    let (connection, netlink, _) = rtnetlink::new_connection()?;
    runtime.spawn(connection);
    runtime
        .block_on(requests(netlink))
        .map_err(|error| match error {
            Error::NetlinkError(refused) => refused.to_io(),
            other => io::Error::other(other),
        })
}

/// It takes milliseconds; 5 s are for a machine that is busy with other things.
const READY_ATTEMPTS: u32 = 5_000;
const READY_INTERVAL: Duration = Duration::from_millis(1);

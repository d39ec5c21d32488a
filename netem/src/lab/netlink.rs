//! Configures the devices of the calling thread's namespace.

use std::io;

use rtnetlink::{Error, Handle, LinkUnspec};

pub(super) fn bring_up_loopback() -> io::Result<()> {
    configure(async |netlink| {
        let up = LinkUnspec::new_with_name("lo").up().build();
        netlink.link().set(up).execute().await
    })
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

//! The listening socket: what can fail before the service is ready.
//!
//! Certificates are `tls.rs`'s.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::Settings;

/// Binds the address of the settings; `::` takes IPv4 too, and gives way to `0.0.0.0` where IPv6 is off.
pub(super) fn bind(settings: &Settings) -> io::Result<TcpListener> {
    match bind_to(SocketAddr::new(settings.host, settings.port)) {
        Err(error)
            if settings.host == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            bind_to(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), settings.port))
        }
        result => result,
    }
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connections that wait to be accepted: a thousand calls may come back at once after an outage.
const BACKLOG: i32 = 4096;

//! Hidden sockets: they listen where nobody connects to, and get their connections from the program alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// As many connections wait for a busy worker.
const BACKLOG: i32 = 4096;

/// A socket bound to loopback, for both families where the host has both. It does not listen yet: first its address must
/// be refused. Others of this process's user can share its port, by which they find it; without one the system chooses.
pub(crate) fn bind(port: Option<u16>) -> io::Result<(OwnedFd, SocketAddr)> {
    let port = port.unwrap_or(0);
    let dual = socket(AddressFamily::INET6).and_then(|socket| {
        sockopt::set_ipv6_v6only(&socket, false)?;
        // The kernel makes a socket that is bound to `::1` one for IPv6 alone, and one bound to this not.
        rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port)))?;
        Ok(socket)
    });
    let socket = match dual {
        Ok(socket) => socket,
        // Without IPv6.
        Err(_) => {
            let socket = socket(AddressFamily::INET)?;
            rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
            socket
        }
    };
    let address = address(socket.as_fd())?;
    Ok((socket, address))
}

/// As many sockets as wanted, bound to one address: every port that is bound is one less that connections can be made
/// from, by anybody. Where the system does not let them share it, which it does only among sockets of one user, they are
/// bound to another.
pub(crate) fn bind_together(like: Option<SocketAddr>, count: usize) -> io::Result<Vec<(OwnedFd, SocketAddr)>> {
    let mut port = like.map(|address| address.port());
    let mut sockets = Vec::with_capacity(count);
    while sockets.len() < count {
        let (socket, address) = match bind(port) {
            Err(error) if port.is_some() && error.kind() == io::ErrorKind::AddrInUse => bind(None)?,
            bound => bound?,
        };
        port = Some(address.port());
        sockets.push((socket, address));
    }
    Ok(sockets)
}

/// From here on connections arrive.
pub(crate) fn listen(socket: OwnedFd) -> io::Result<TcpListener> {
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Where a socket is bound.
pub(crate) fn address(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let address: SocketAddr = rustix::net::getsockname(socket)?.try_into()?;
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Whether connections can be steered to it.
pub(crate) fn takes_connections(socket: BorrowedFd<'_>) -> bool {
    sockopt::socket_acceptconn(socket).unwrap_or(false)
        && sockopt::socket_protocol(socket).is_ok_and(|protocol| protocol == Some(ipproto::TCP))
}

/// The kernel's own number of a socket, the same in every process that has it. No socket has 0.
pub(crate) fn cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(sockopt::socket_cookie(socket)?)
}

fn socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Connections have it from here: what is left of them when they have ended must not keep a port from being bound.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Who shares an address is a group to the kernel, of which it would choose one. The program forbids it.
    sockopt::set_socket_reuseport(&socket, true)?;
    Ok(socket)
}

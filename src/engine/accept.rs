//! Where connections come from.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::chat::ids::{Millis, Now};
use crate::config::Listen;
use crate::store::OpenError;

/// Connections that the kernel completes before we accept them. It cuts this to its own limit (4,096 on Linux).
const BACKLOG: i32 = 4096;

/// When accepting failed for want of descriptors: tried again on every close, and this often.
const PAUSE_MS: Millis = 250;

/// So much the kernel takes of what it cannot send yet (`TCP_NOTSENT_LOWAT`). By default it takes up to 4 MiB for each reader who
/// lags, a copy for each; what it does not take is with us, one copy for all who are owed the same.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 512 * 1024;

/// The tokens of listeners are `FIRST_TOKEN` and up; connections' lie far below.
pub(super) const FIRST_TOKEN: usize = usize::MAX - 1_000;

/// Why the server does not start.
#[derive(Debug)]
pub enum BindError {
    /// At this address.
    Address {
        /// The address, as it was asked for.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The loop itself cannot be set up.
    Setup(io::Error),
    /// The history cannot be had.
    Store(OpenError),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Setup(error) => write!(f, "cannot start: {error}"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BindError {}

/// The listening sockets.
#[derive(Debug)]
pub(super) struct Listeners {
    sockets: Vec<Listener>,
    addresses: Vec<SocketAddr>,
    paused_until_ms: Option<Millis>,
    /// The last attempt failed: the next failure is no news.
    failing: bool,
}

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    /// Connections may be waiting. Forgotten only when the kernel had no more: it does not wake us again for those
    /// that it told us of.
    ready: bool,
}

/// What came of an attempt to accept.
pub(super) enum Accepted {
    /// Somebody came.
    Connection(TcpStream, SocketAddr),
    /// Nobody is waiting, or we must wait.
    None,
}

impl Listeners {
    pub(super) fn bind(wanted: &[Listen], registry: &Registry) -> Result<Self, BindError> {
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        for listen in wanted {
            let address = listen.address;
            let bound = bind(address).and_then(|mut socket| {
                registry.register(&mut socket, Token(FIRST_TOKEN + sockets.len()), Interest::READABLE)?;
                Ok((socket.local_addr()?, socket))
            });
            match bound {
                Ok((bound, socket)) => {
                    addresses.push(bound);
                    sockets.push(Listener { socket, ready: true });
                }
                Err(error) if listen.may_be_skipped(&error) => log::debug!("not listening on {address}: {error}"),
                Err(error) => return Err(BindError::Address { address, error }),
            }
        }
        Ok(Self { sockets, addresses, paused_until_ms: None, failing: false })
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(super) fn note_ready(&mut self, token: Token) {
        if let Some(listener) = self.sockets.get_mut(token.0 - FIRST_TOKEN) {
            listener.ready = true;
        }
    }

    /// Whether an attempt makes sense now.
    pub(super) fn is_ready(&self, now: Now) -> bool {
        self.paused_until_ms.is_none_or(|until_ms| until_ms <= now.mono_ms)
            && self.sockets.iter().any(|listener| listener.ready)
    }

    /// When to try again after a failure.
    pub(super) fn paused_until_ms(&self) -> Option<Millis> {
        self.paused_until_ms
    }

    /// A connection was freed: there may be room again.
    pub(super) fn resume(&mut self) {
        self.paused_until_ms = None;
    }

    pub(super) fn accept(&mut self, now: Now) -> Accepted {
        self.paused_until_ms = None;
        for listener in self.sockets.iter_mut().filter(|listener| listener.ready) {
            loop {
                match listener.socket.accept() {
                    Ok((socket, peer)) => {
                        self.failing = false;
                        return Accepted::Connection(socket, peer);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        listener.ready = false;
                        break;
                    }
                    // The one that we were about to accept is gone, or a signal came.
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::ConnectionAborted
                                | io::ErrorKind::Interrupted
                                | io::ErrorKind::ConnectionReset
                        ) => {}
                    Err(error) => {
                        // Out of descriptors or memory: wait until something is freed. Those who wait, wait in the
                        // kernel's queue.
                        if !self.failing {
                            log::warn!("accepting pauses: {error}");
                        }
                        self.failing = true;
                        self.paused_until_ms = Some(now.mono_ms + PAUSE_MS);
                        return Accepted::None;
                    }
                }
            }
        }
        Accepted::None
    }

    /// Stops accepting for good.
    pub(super) fn close(&mut self, registry: &Registry) {
        for mut listener in self.sockets.drain(..) {
            if let Err(error) = registry.deregister(&mut listener.socket) {
                log::debug!("deregistering a listener: {error}");
            }
        }
    }
}

/// As `TcpListener::bind`, but with a queue that a thousand clients who come at once fit in.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last life's connections to time out.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that `0.0.0.0:8765` and `[::]:8765` can be asked for together.
        socket.set_only_v6(true)?;
    }
    // What is set here, connections inherit: it saves a call for each. A line is one write, and must not wait for the next
    // (RFC 896 would make it).
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;

    #[test]
    fn connections_inherit_what_listeners_have() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (connection, _) = listener.accept().unwrap();
        assert!(connection.nodelay().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(SockRef::from(&connection).tcp_notsent_lowat().unwrap(), UNSENT_BYTES_MAX);
    }
}

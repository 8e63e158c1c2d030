//! How connections end: a reason, a Close frame after all else, the peer's Close or the stream's end, and the slot is
//! free.
//!
//! The core hears of an end in the turn in which it is decided, whoever decided it; the slot is freed when the peer has
//! seen the end too, or `--close-ms` later.

use std::fmt;
use std::io::Write as _;
use std::net::Shutdown;

use socket2::SockRef;

use crate::chat::Event;
use crate::chat::effects::CloseReason;
use crate::chat::ids::ConnId;
use crate::wire::decoder::{CloseWatch, Partial};

use crate::wire::frame;

use super::Server;
use super::connection::{Closing, End, Phase, Rest};
use super::hear::read_once;

/// What was read behind the message at which the end was decided: the peer's Close may be in it.
#[derive(Clone, Copy)]
pub(super) enum After<'a> {
    Nothing,
    Bytes(&'a [u8]),
}

impl Server {
    /// Begins the end of a connection. Nothing of it is heard any more; what it is owed is still written, then a Close.
    pub(super) fn close(&mut self, id: ConnId, end: End, after: After<'_>) {
        let Some(connection) = self.connections.find(id) else { return };
        let (partial, rest) = match std::mem::replace(&mut connection.phase, Phase::Doomed) {
            Phase::Head { .. } => (None, Rest::default()),
            Phase::Open { partial, rest } => (partial, rest),
            // Its end has begun before; now its stream ends too, or else nothing is new.
            Phase::Closing(_) if end == End::Gone => {
                self.doomed.push(id);
                return;
            }
            ended @ (Phase::Closing(_) | Phase::Doomed) => {
                connection.phase = ended;
                return;
            }
        };
        log::info!("{} goes: {end}", connection.peer);
        if connection.flags.in_chat {
            connection.flags.in_chat = false;
            self.departed.push((id, end.is_for_good()));
        }
        if end == End::Gone {
            self.doomed.push(id);
            return;
        }
        let after = if let After::Bytes(bytes) = after { bytes } else { rest.bytes() };
        connection.phase = Phase::Closing(Closing {
            end,
            since_ms: self.now.mono_ms,
            watch: watch(end, partial, after),
            said: false,
            shut: false,
            peer_done: false,
        });
        self.closing.push(id);
        self.arm(id);
    }

    /// Answers a request with something else than an upgrade, and ends the connection.
    pub(super) fn respond(&mut self, id: ConnId, status: u16, response: &[u8]) {
        if self.write_head(id, response) {
            self.close(id, End::Http(status), After::Nothing);
        } else {
            self.doom(id);
        }
    }

    /// Writes an answer after which the connection ends straight to its fresh socket, which has room for it. Returns whether
    /// the kernel took it.
    pub(super) fn write_head(&mut self, id: ConnId, response: &[u8]) -> bool {
        let Some(connection) = self.connections.find(id) else { return false };
        match connection.socket.write(response) {
            Ok(bytes) => bytes == response.len(),
            Err(error) => {
                log::debug!("{}: {error}", connection.peer);
                false
            }
        }
    }

    /// Gives one connection bytes of its own.
    pub(super) fn give_reply(&mut self, id: ConnId, write: impl FnOnce(&mut Vec<u8>)) {
        let (span, ()) = self.turn.write_reply(write);
        if let Some(connection) = self.connections.find(id) {
            connection.outbox.give(span);
            self.mark_dirty(id);
        }
    }

    /// Sends each connection that ends its Close, after all that the turn gave it.
    pub(super) fn say_closes(&mut self) {
        for id in std::mem::take(&mut self.closing) {
            let Some(connection) = self.connections.find(id) else { continue };
            let Phase::Closing(closing) = &mut connection.phase else { continue };
            closing.said = true;
            if let End::Close(reason) = closing.end {
                self.give_reply(id, |out| match reason.code() {
                    Some(code) => frame::write_close(out, code, reason.text()),
                    None => frame::write_close_empty(out),
                });
            }
            self.mark_dirty(id);
            // What the peer sent may lie there unread since before its end was decided.
            self.enqueue(id);
        }
    }

    /// Reads and throws away, looking only for the peer's Close.
    pub(super) fn hear_closing(&mut self, id: ConnId, input: &mut [u8]) -> usize {
        let Some(connection) = self.connections.find(id) else { return 0 };
        let read = read_once(connection, input);
        let Phase::Closing(closing) = &mut connection.phase else { return 0 };
        let bytes = match read {
            Ok(Some(0)) => {
                closing.peer_done = true;
                connection.flags.readable = false;
                0
            }
            Ok(Some(bytes)) => {
                closing.peer_done |= closing.watch.as_mut().is_some_and(|watch| watch.saw_close(&input[..bytes]));
                bytes
            }
            Ok(None) => 0,
            Err(error) => {
                log::debug!("{}: {error}", connection.peer);
                self.doom(id);
                return 0;
            }
        };
        self.end_if_done(id);
        bytes
    }

    /// Frees a connection that ends, once everything is written and the peer is done; tells it that no more comes.
    pub(super) fn end_if_done(&mut self, id: ConnId) {
        let Some(connection) = self.connections.find(id) else { return };
        let Phase::Closing(closing) = &mut connection.phase else { return };
        if !closing.said || !connection.outbox.is_empty() {
            return;
        }
        // A peer that said goodbye sends no more. What it had sent is read, so that freeing the socket resets nothing.
        let said_goodbye = matches!(closing.end, End::Close(CloseReason::Goodbye(_))) && !connection.flags.readable;
        if closing.peer_done || said_goodbye {
            // What the kernel still has for it must not wait for ever for a peer that does not read.
            #[cfg(target_os = "linux")]
            if let Err(error) = SockRef::from(&connection.socket)
                .set_tcp_user_timeout(Some(std::time::Duration::from_millis(self.config.deadlines.close_ms)))
            {
                log::debug!("{}: {error}", connection.peer);
            }
            self.doom(id);
        } else if closing.watch.is_none() && !closing.shut {
            // No Close is awaited. Freeing the socket now could reset it before the peer has read the end (RFC 6455
            // section 7.1.1), so we only say that no more comes, and wait for the peer's end or the deadline.
            closing.shut = true;
            if let Err(error) = connection.socket.shutdown(Shutdown::Write) {
                log::debug!("{}: {error}", connection.peer);
                self.doom(id);
            }
        }
    }

    /// Frees a connection at the turn's end, whatever it is owed.
    pub(super) fn doom(&mut self, id: ConnId) {
        self.close(id, End::Gone, After::Nothing);
    }

    /// Ends a connection whose peer did not: its buffers are thrown away (RST).
    pub(super) fn reset(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.find(id)
            && let Err(error) = SockRef::from(&connection.socket).set_linger(Some(std::time::Duration::ZERO))
        {
            log::debug!("{}: {error}", connection.peer);
        }
        self.doom(id);
    }

    /// Tells the core who is gone, and frees what has ended. What follows from it waits for the next turn.
    pub(super) fn reap(&mut self) {
        for (conn, for_good) in self.departed.drain(..) {
            self.chat.handle(self.now, Event::Closed { conn, for_good }, &mut self.effects);
        }
        for id in self.doomed.drain(..) {
            let Some(mut connection) = self.connections.remove(id) else { continue };
            connection.outbox.release(&mut self.turn);
            // Its descriptor is closed here, which also takes it out of the kernel's list.
            drop(connection);
            self.listeners.resume();
        }
    }
}

/// Where the peer's Close is looked for, if one is to be expected.
fn watch(end: End, partial: Option<Box<Partial>>, after: &[u8]) -> Option<Box<CloseWatch>> {
    let awaited = match end {
        End::Http(_) | End::Gone => false,
        // It came, or it cannot be told from anything else: where frames begin is not known any more.
        End::Close(reason) => !matches!(reason, CloseReason::Goodbye(_) | CloseReason::Protocol | CloseReason::NotUtf8),
    };
    let mut watch = awaited.then(|| Box::new(CloseWatch::after(partial)))?;
    (!watch.saw_close(after)).then_some(watch)
}

impl End {
    /// Whether the peer does not mean to come back: it said so, or it was told so by one of our final codes.
    fn is_for_good(self) -> bool {
        match self {
            Self::Close(CloseReason::Goodbye(code)) => code == Some(1000),
            Self::Close(reason) => reason.code().is_some_and(|code| (4500..4600).contains(&code)),
            Self::Http(_) | Self::Gone => false,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close(CloseReason::Goodbye(Some(code))) => write!(f, "it said goodbye with {code}"),
            Self::Close(CloseReason::Goodbye(None)) => f.write_str("it said goodbye"),
            Self::Close(reason) => write!(f, "{} {}", reason.code().unwrap_or_default(), reason.text()),
            Self::Http(status) => write!(f, "it was answered {status}"),
            Self::Gone => f.write_str("the connection ended without a goodbye"),
        }
    }
}

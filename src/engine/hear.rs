//! What comes in: bytes to messages to commands, and each command to the core.

use std::io::{self, Read as _};

use crate::chat::effects::CloseReason;
use crate::chat::ids::{ConnId, Now};
use crate::chat::{Ask, Chat, Command, Effects, Event};
use crate::http::{self, Answer};
use crate::wire::command::parse_plain;
use crate::wire::decoder::{Decoder, Incoming, Partial};
use crate::wire::head::{self, HeadLimits, Parsed};

use super::closing::After;
use super::connection::{Connection, End, Phase};
use super::flush::{BACKLOG_READ_BYTES_MAX, DRAINED_BYTES};
use super::{Server, random_bytes};

/// What may be taken in during one turn, in bytes read and what they cause. It bounds how long a turn lasts, and how
/// large the turn's buffers grow: the largest answer, a `history` of some 300 KiB, costs 4 tokens more than a ping.
pub(super) const TURN_UNITS: usize = 16 << 20;

/// What a token beyond the first stands for: many readers, or an answer that is longer than its request.
const UNITS_PER_EXTRA_TOKEN: usize = 16 << 10;

/// Pages handed to readers who catch up in one turn: some 4 MiB.
const PAGES_MAX: usize = 64;

/// What a read brought.
enum Input {
    Bytes(usize),
    Nothing,
    End,
}

/// What a chunk brought.
#[derive(Default)]
struct Outcome {
    messages: u32,
    tokens: u32,
    small_frames: u32,
    close: Option<CloseReason>,
    held: bool,
}

impl Server {
    /// Puts a connection on the list of those to be heard, if there may be something to hear and it may be heard.
    pub(super) fn enqueue(&mut self, id: ConnId) {
        let stopping = self.stopping.is_on();
        let Some(connection) = self.connections.find(id) else { return };
        let flags = connection.flags;
        let wanted = match &connection.phase {
            Phase::Head { .. } => flags.readable && !stopping,
            Phase::Open { rest, .. } => (flags.readable || !rest.is_empty()) && !flags.held && !stopping,
            Phase::Closing(_) => flags.readable,
            Phase::Doomed => false,
        };
        if !wanted || flags.in_ready {
            return;
        }
        if connection.phase.is_open() {
            if connection.outbox.owed() > BACKLOG_READ_BYTES_MAX {
                return;
            }
            if connection.rate.bytes(&self.config.rate, self.now, 1) == 0 {
                self.arm(id);
                return;
            }
        }
        connection.flags.in_ready = true;
        self.ready.push_back(id);
    }

    /// A connection that we did not read may be read again. Its silence counts from here.
    pub(super) fn resume(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.find(id) {
            connection.note_heard(self.now);
        }
        self.enqueue(id);
    }

    /// Hears those who are ready, in turn, until the budget is used up; the others are first in the next turn.
    pub(super) fn hear(&mut self) {
        self.feed_drained();
        if self.chat.next_deadline().is_some_and(|due_ms| due_ms <= self.now.mono_ms) {
            self.chat.handle(self.now, Event::Tick, &mut self.effects);
        }
        let mut units = TURN_UNITS;
        for _ in 0..self.ready.len() {
            if units == 0 {
                return;
            }
            let Some(id) = self.ready.pop_front() else { return };
            let Some(connection) = self.connections.find(id) else { continue };
            connection.flags.in_ready = false;
            let mut input = std::mem::take(&mut self.input);
            let cost = match connection.phase {
                Phase::Head { .. } => self.hear_head(id, &mut input),
                Phase::Open { .. } => self.hear_open(id, &mut input),
                Phase::Closing(_) => self.hear_closing(id, &mut input),
                Phase::Doomed => 0,
            };
            units = units.saturating_sub(cost);
            self.input = input;
            self.enqueue(id);
        }
    }

    /// Tells the core whose outbox has room for the next page.
    fn feed_drained(&mut self) {
        for _ in 0..PAGES_MAX.min(self.drained.len()) {
            let Some(id) = self.drained.pop_front() else { return };
            match self.connections.find(id) {
                // It filled up again since.
                Some(connection) if connection.outbox.owed() >= DRAINED_BYTES => connection.flags.watched = true,
                Some(_) => self.chat.handle(self.now, Event::Drained { conn: id }, &mut self.effects),
                None => {}
            }
        }
    }

    fn hear_head(&mut self, id: ConnId, input: &mut [u8]) -> usize {
        let Some(connection) = self.connections.find(id) else { return 0 };
        let bytes = match read(connection, input) {
            Input::Bytes(bytes) => &input[..bytes],
            Input::Nothing => return 0,
            Input::End => {
                self.close(id, End::Gone, After::Nothing);
                return 0;
            }
        };
        let Phase::Head { bytes: before } = &mut connection.phase else { return 0 };
        // Most heads come in one piece and are parsed where they lie.
        let searched = before.len();
        let mut joined = std::mem::take(before);
        let all = if searched == 0 {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined[..]
        };
        let limits =
            HeadLimits { bytes_max: self.config.limits.head_bytes_max, headers_max: self.config.limits.headers_max };
        let end = head::head_end(all, searched);
        if end.is_none() && all.len() <= limits.bytes_max && head::may_begin(all[0]) {
            *before = if searched == 0 { bytes.to_vec() } else { joined };
            return bytes.len();
        }
        let cost = bytes.len();
        match head::parse(all, limits) {
            Parsed::Complete { head, bytes_used } => cost + self.answer(id, http::route(&head), &all[bytes_used..]),
            Parsed::Refused(fault) => {
                self.respond(id, fault.status(), &http::fault_response(fault));
                cost
            }
            Parsed::Incomplete => {
                let whole = all.len() > limits.bytes_max;
                let fault = if whole { head::HeadFault::TooLarge } else { head::HeadFault::BadRequest };
                self.respond(id, fault.status(), &http::fault_response(fault));
                cost
            }
        }
    }

    fn answer(&mut self, id: ConnId, answer: Answer, rest: &[u8]) -> usize {
        match answer {
            Answer::Respond { status, response } => {
                self.respond(id, status, &response);
                0
            }
            Answer::Upgrade { .. } if self.connections.open >= self.connections_max => {
                let body = "The server has no room for another connection now; try again later.";
                self.respond(id, 503, &http::respond(503, &[("Retry-After", "5")], body, false));
                0
            }
            Answer::Upgrade { room, name, response } => {
                let Some(connection) = self.connections.find(id) else { return 0 };
                let secret = match random_bytes() {
                    Ok(secret) => secret,
                    Err(error) => {
                        log::error!("the system gives no random bits: {error}");
                        self.close(id, End::Gone, After::Nothing);
                        return 0;
                    }
                };
                log::info!("{} came to {room}", connection.peer);
                connection.phase = Phase::Open { partial: None, rest: Vec::new() };
                connection.flags.in_chat = true;
                connection.flags.upgraded = true;
                self.connections.open += 1;
                self.arm(id);
                self.give_reply(id, |out| out.extend_from_slice(&response));
                let opened = Event::Opened { conn: id, room, name: name.as_deref(), secret };
                self.chat.handle(self.now, opened, &mut self.effects);
                self.effects.take_cost();
                self.hear_bytes(id, rest)
            }
        }
    }

    fn hear_open(&mut self, id: ConnId, input: &mut [u8]) -> usize {
        let Some(connection) = self.connections.find(id) else { return 0 };
        let Phase::Open { rest, .. } = &mut connection.phase else { return 0 };
        if !rest.is_empty() {
            let rest = std::mem::take(rest);
            return self.hear_bytes(id, &rest);
        }
        let bytes_max = connection.rate.bytes(&self.config.rate, self.now, input.len());
        if bytes_max == 0 {
            return 0;
        }
        match read(connection, &mut input[..bytes_max]) {
            Input::Bytes(bytes) => self.hear_bytes(id, &input[..bytes]),
            Input::Nothing => 0,
            Input::End => {
                self.close(id, End::Gone, After::Nothing);
                0
            }
        }
    }

    /// Hears what came on a WebSocket; what may not be heard yet is kept. Returns what it cost of the turn.
    fn hear_bytes(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let Some(connection) = self.connections.find(id) else { return 0 };
        connection.note_heard(self.now);
        let Phase::Open { partial, rest } = &mut connection.phase else { return 0 };
        let mut left = bytes;
        let (chat, effects, decoder, now) = (&mut self.chat, &mut self.effects, &mut self.decoder, self.now);
        let (pongs, outcome) =
            self.turn.write_reply(|replies| converse(chat, now, id, decoder, partial, &mut left, replies, effects));
        connection.rate.take(&self.config.rate, outcome.tokens, outcome.small_frames);
        if outcome.held {
            *rest = left.to_vec();
            connection.flags.held = true;
            self.held.push(id);
        }
        connection.outbox.give(pongs);
        if !pongs.is_empty() {
            self.mark_dirty(id);
        }
        if let Some(reason) = outcome.close {
            self.close(id, End::Close(reason), After::Bytes(left));
        }
        bytes.len() + outcome.tokens.saturating_sub(outcome.messages) as usize * UNITS_PER_EXTRA_TOKEN
    }
}

/// Decodes messages one by one and hands each to the core, until the bytes are used up, the connection is held, or it
/// must be closed. Bounded by the bytes.
#[expect(clippy::too_many_arguments, reason = "the parts of the server that a message passes, in that order")]
fn converse(
    chat: &mut Chat,
    now: Now,
    conn: ConnId,
    decoder: &mut Decoder,
    partial: &mut Option<Box<Partial>>,
    left: &mut &[u8],
    replies: &mut Vec<u8>,
    effects: &mut Effects,
) -> Outcome {
    let mut outcome = Outcome { held: chat.is_held(conn), ..Outcome::default() };
    while !outcome.held
        && let Some(incoming) = decoder.next(partial, left, replies)
    {
        let hear = |command: Command<'_>, effects: &mut Effects, chat: &mut Chat| {
            chat.handle(now, Event::Heard { conn, command }, effects);
            effects.take_cost()
        };
        outcome.tokens += match incoming {
            Ok(Incoming::Text(text)) => hear(parse_plain(&text), effects, chat),
            Ok(Incoming::Binary(bytes)) => hear(Command { ask: Ask::Binary(&bytes), reference: None }, effects, chat),
            Ok(Incoming::Ping | Incoming::Pong | Incoming::Fragment) => {
                outcome.small_frames += 1;
                continue;
            }
            Ok(Incoming::Close(code)) => {
                outcome.close = Some(CloseReason::Goodbye(code));
                break;
            }
            Err(reason) => {
                outcome.close = Some(reason);
                break;
            }
        };
        outcome.messages += 1;
        outcome.held = chat.is_held(conn);
    }
    outcome
}

/// Reads once. A read that brings less than was asked for has emptied the socket (epoll(7), question 9), so the next
/// `WouldBlock` is not waited for; not so at the stream's end, which no further event would tell.
pub(super) fn read_once(connection: &mut Connection, input: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match connection.socket.read(input) {
            Ok(bytes) => {
                connection.flags.readable = bytes == input.len() || connection.flags.read_closed;
                return Ok(Some(bytes));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.flags.readable = false;
                return Ok(None);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn read(connection: &mut Connection, input: &mut [u8]) -> Input {
    match read_once(connection, input) {
        Ok(Some(0)) => Input::End,
        Ok(Some(bytes)) => Input::Bytes(bytes),
        Ok(None) => Input::Nothing,
        Err(error) => {
            log::debug!("{}: {error}", connection.peer);
            Input::End
        }
    }
}

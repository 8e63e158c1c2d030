//! What comes in: bytes to messages to commands, and each command to the core.

use std::io::{self, Read as _};

use crate::chat::effects::CloseReason;
use crate::chat::ids::{ConnId, Now};
use crate::chat::{Ask, Chat, Command, Effects, Event};
use crate::http::{self, Answer};
use crate::wire::command::{parse_plain, parse_v1};
use crate::wire::decoder::{Decoder, Incoming, Partial};
use crate::wire::head::{self, HeadLimits, Parsed};

use super::Server;
use super::closing::After;
use super::connection::{Connection, End, Phase, Rest};
use super::flush::{BACKLOG_READ_BYTES_MAX, DRAINED_BYTES};

/// What may be taken in during one turn, in bytes read and what they cause. It bounds how long a turn lasts, and how
/// large the turn's buffers grow: the largest answer, a `history` of some 300 KiB, costs 4 tokens more than a ping.
pub(super) const TURN_UNITS: usize = 16 << 20;

/// What one connection may cause in one go; the rest of what was read from it waits for the next turn.
const CONNECTION_UNITS: usize = 2 << 20;

/// What a message stands for beyond its own bytes: an empty one is told as a frame of some hundred.
const UNITS_PER_MESSAGE: usize = 512;

/// What each reader stands for that is noted for an event.
const UNITS_PER_READER: usize = 64;

/// What a token beyond the first stands for where it is for the answer, which is longer than its request.
const UNITS_PER_ANSWER_TOKEN: usize = 16 << 10;

/// The same where it is for 500 readers of what is passed on. One connection's lines are so told half a million times in a
/// turn at most, which takes some 30 ms, and everybody's eight times as often; in rooms below 500 only the number of lines
/// is bounded. (Lines that a turn tells together are one write for each reader: telling 256 lines in four turns costs 1.7
/// times as much as in one.)
const UNITS_PER_AUDIENCE_TOKEN: usize = 2 << 10;

/// When more than so many wait to be heard, each is read for less: what one says at once is told to all.
const FEW_READY: usize = 4;

/// That is, so many bytes.
const INPUT_BYTES_AMONG_MANY: usize = 64 << 10;

/// Pages handed to readers who catch up in one turn: some 4 MiB.
const PAGES_MAX: usize = 64;

/// What a read brought.
enum Input {
    Bytes(usize),
    Nothing,
    End,
}

/// What a chunk left.
struct Left {
    /// The last so many bytes are still to be heard.
    bytes: usize,
    /// What it cost of the turn beyond its bytes.
    cost: usize,
}

/// What a chunk brought.
#[derive(Default)]
struct Outcome {
    tokens: u32,
    small_frames: u32,
    /// What it cost of the turn beyond its bytes.
    units: usize,
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
                break;
            }
            let Some(id) = self.ready.pop_front() else { break };
            let Some(connection) = self.connections.find(id) else { continue };
            connection.flags.in_ready = false;
            let readers_before = self.effects.readers.len();
            let mut input = std::mem::take(&mut self.input);
            let cost = match connection.phase {
                Phase::Head { .. } => self.hear_head(id, &mut input),
                Phase::Open { .. } => self.hear_open(id, &mut input),
                Phase::Closing(_) => self.hear_closing(id, &mut input),
                Phase::Doomed => 0,
            };
            let readers = self.effects.readers.len() - readers_before;
            units = units.saturating_sub(cost + readers * UNITS_PER_READER);
            self.input = input;
            self.enqueue(id);
        }
    }

    /// Tells the core whose outbox has room for the next page. When we stop, nobody gets one: who has more to catch up with goes on
    /// after the next start, and the store is not asked for ever.
    fn feed_drained(&mut self) {
        if self.stopping.is_on() {
            self.drained.clear();
            return;
        }
        for _ in 0..PAGES_MAX.min(self.drained.len()) {
            let Some(id) = self.drained.pop_front() else { return };
            let Some(connection) = self.connections.find(id) else { continue };
            connection.flags.in_drained = false;
            if connection.outbox.owed() < DRAINED_BYTES {
                self.chat.handle(self.now, Event::Drained { conn: id }, &mut self.effects);
            } else {
                // It filled up again since.
                connection.flags.watched = true;
            }
        }
    }

    fn hear_head(&mut self, id: ConnId, input: &mut [u8]) -> usize {
        let Some(connection) = self.connections.find(id) else { return 0 };
        // What comes behind the head is read at the connection's rate, so not much of it is taken along.
        let bytes_max = input.len().min(self.config.limits.head_bytes_max + 1);
        let bytes = match read(connection, &mut input[..bytes_max]) {
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
            Answer::Upgrade { room, name, v1, response } => {
                let Some(connection) = self.connections.find(id) else { return 0 };
                let secret = match self.secrets.draw() {
                    Ok(secret) => secret,
                    Err(error) => {
                        log::error!("the system gives no random bits: {error}");
                        self.close(id, End::Gone, After::Nothing);
                        return 0;
                    }
                };
                if v1 {
                    log::info!("{} came with chinwag.v1", connection.peer);
                } else {
                    log::info!("{} came to {room}", connection.peer);
                }
                connection.phase = Phase::Open { partial: None, rest: Rest::default() };
                connection.flags.in_chat = true;
                connection.flags.upgraded = true;
                connection.flags.v1 = v1;
                connection.outbox.give_head(&response, &mut self.turn, self.now.mono_ms);
                self.connections.open += 1;
                self.mark_dirty(id);
                self.arm(id);
                let event = if v1 {
                    Event::Connected { conn: id, secret }
                } else {
                    Event::Opened { conn: id, room, name: name.as_deref(), secret }
                };
                self.chat.handle(self.now, event, &mut self.effects);
                self.effects.take_cost();
                self.hear_new(id, rest)
            }
        }
    }

    fn hear_open(&mut self, id: ConnId, input: &mut [u8]) -> usize {
        let Some(connection) = self.connections.find(id) else { return 0 };
        let Phase::Open { rest, .. } = &mut connection.phase else { return 0 };
        if !rest.is_empty() {
            let mut kept = std::mem::take(rest);
            let left = self.hear_bytes(id, kept.bytes());
            kept.keep_last(left.bytes);
            self.keep_rest(id, kept);
            return left.cost;
        }
        let bytes_max = if self.ready.len() > FEW_READY { INPUT_BYTES_AMONG_MANY } else { input.len() };
        let bytes_max = connection.rate.bytes(&self.config.rate, self.now, bytes_max);
        if bytes_max == 0 {
            return 0;
        }
        match read(connection, &mut input[..bytes_max]) {
            Input::Bytes(bytes) => self.hear_new(id, &input[..bytes]),
            Input::Nothing => 0,
            Input::End => {
                self.close(id, End::Gone, After::Nothing);
                0
            }
        }
    }

    /// Hears what was just read on a WebSocket; what may not be heard yet is kept. Returns what it cost of the turn.
    fn hear_new(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let left = self.hear_bytes(id, bytes);
        if left.bytes > 0 {
            self.keep_rest(id, Rest::new(&bytes[bytes.len() - left.bytes..]));
        }
        bytes.len() + left.cost
    }

    fn keep_rest(&mut self, id: ConnId, kept: Rest) {
        if let Some(connection) = self.connections.find(id)
            && let Phase::Open { rest, .. } = &mut connection.phase
            && !kept.is_empty()
        {
            *rest = kept;
        }
    }

    fn hear_bytes(&mut self, id: ConnId, bytes: &[u8]) -> Left {
        let nothing = Left { bytes: 0, cost: 0 };
        let Some(connection) = self.connections.find(id) else { return nothing };
        connection.note_heard(self.now);
        let tokens_max = connection.rate.tokens(&self.config.rate);
        let Phase::Open { partial, .. } = &mut connection.phase else { return nothing };
        let mut left = bytes;
        let (chat, effects, decoder, now) = (&mut self.chat, &mut self.effects, &mut self.decoder, self.now);
        let parse = if connection.flags.v1 { parse_v1 } else { parse_plain };
        let (pongs, outcome) = self.turn.write_reply(|replies| {
            converse(chat, now, id, decoder, parse, partial, &mut left, replies, effects, tokens_max)
        });
        connection.rate.take(&self.config.rate, outcome.tokens, outcome.small_frames);
        if outcome.held {
            connection.flags.held = true;
            self.held.push(id);
        }
        connection.outbox.give(pongs);
        if !pongs.is_empty() {
            self.mark_dirty(id);
        }
        if let Some(reason) = outcome.close {
            self.close(id, End::Close(reason), After::Bytes(left));
            left = &[];
        }
        Left { bytes: left.len(), cost: outcome.units }
    }
}

/// Decodes messages one by one and hands each to the core, until the bytes or the tokens are used up, the connection is
/// held, it must be closed, or it has caused enough for one go.
#[expect(clippy::too_many_arguments, reason = "the parts of the server that a message passes, in that order")]
fn converse(
    chat: &mut Chat,
    now: Now,
    conn: ConnId,
    decoder: &mut Decoder,
    parse: impl Fn(&str) -> Command<'_>,
    partial: &mut Option<Box<Partial>>,
    left: &mut &[u8],
    replies: &mut Vec<u8>,
    effects: &mut Effects,
    tokens_max: u32,
) -> Outcome {
    let mut outcome = Outcome { held: chat.is_held(conn), ..Outcome::default() };
    while !outcome.held
        && outcome.tokens <= tokens_max
        && outcome.units < CONNECTION_UNITS
        && let Some(incoming) = decoder.next(partial, left, replies)
    {
        let command = match &incoming {
            Ok(Incoming::Text(text)) => parse(text),
            Ok(Incoming::Binary(bytes)) => Command { ask: Ask::Binary(bytes), reference: None },
            Ok(Incoming::Ping | Incoming::Pong | Incoming::Fragment) => {
                outcome.small_frames += 1;
                continue;
            }
            Ok(Incoming::Close(code)) => {
                outcome.close = Some(CloseReason::Goodbye(*code));
                break;
            }
            Err(reason) => {
                outcome.close = Some(*reason);
                break;
            }
        };
        let is_passed_on = matches!(command.ask, Ask::Chat { .. } | Ask::Binary(_));
        chat.handle(now, Event::Heard { conn, command }, effects);
        let tokens = effects.take_cost();
        let units_per_token = if is_passed_on { UNITS_PER_AUDIENCE_TOKEN } else { UNITS_PER_ANSWER_TOKEN };
        outcome.units += UNITS_PER_MESSAGE + tokens.saturating_sub(1) as usize * units_per_token;
        outcome.tokens += tokens;
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

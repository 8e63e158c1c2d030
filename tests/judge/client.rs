//! A `chinwag.v1` client that follows the client rules of `docs/PROTOCOL.md` section 3 to the letter, and holds the server
//! to its part of them: a line that must not come (twice, out of order, to a stranger) is not dropped in silence here.

use std::sync::Arc;

use chinwag::chat::command::{Entry, From, Hello};
use chinwag::chat::message::{ErrorReply, Joined, Recovery, Welcome};
use chinwag::chat::names::ME;
use chinwag::chat::{Ask, Command, ErrorCode, Line, Message, Name, RoomName, UserId};

use crate::coverage::Coverage;
use crate::outbox::{Outbox, Whither};
use crate::screen::{Screen, Start};
use crate::truth::{Fate, Truth};
use crate::{Verdict, hold};

/// A person with a client.
#[derive(Debug)]
pub struct Client {
    /// The number of the person.
    pub number: usize,
    session: Option<Box<str>>,
    pub user: Option<UserId>,
    pub name: Option<Name>,
    /// The connection that it has, by its number.
    pub link: Option<usize>,
    /// Was welcomed there.
    pub welcomed: bool,
    /// The turn in which it connects again.
    pub back_at: u64,
    /// Said goodbye: what it sends now is lost, and it knows.
    pub leaving: bool,
    pub seats: Vec<Seat>,
    pub outbox: Outbox,
}

/// A room, as this client knows it.
#[derive(Debug)]
pub struct Seat {
    /// As clients know it.
    pub room: String,
    /// It is to be there.
    pub wanted: bool,
    pub state: State,
    pub screen: Screen,
    /// `joined.seq`: what the replay goes up to.
    reaches: u64,
    /// Got a line as it was said, on this connection.
    live: bool,
}

/// Where it is with a room, on this connection.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Not there, and no line may come.
    Out,
    /// It asked to go on from there.
    Asked(From<'static>),
    In,
    /// It asked to join again, which only answers.
    Again,
    /// It asked to leave; lines come until the answer.
    Leaving,
    /// It named no rooms in its `hello`: the server knows whether it is there.
    Perhaps,
    /// Refused for now.
    Refused(From<'static>),
}

/// What a client does next.
pub type Sends = Vec<Command<'static>>;

impl Seat {
    fn new(room: &str) -> Self {
        let room = room.to_owned();
        Self { room, wanted: false, state: State::Out, screen: Screen::default(), reaches: 0, live: false }
    }

    /// The replay is through: what it did not show is not there.
    pub fn is_through(&self) -> bool {
        self.state == State::In && self.screen.has_reached(self.reaches)
    }
}

/// A request without `ref`.
pub fn command(ask: Ask<'static>) -> Command<'static> {
    Command { ask, reference: None }
}

impl Client {
    pub fn new(number: usize) -> Self {
        let wanted = |room| Seat { wanted: true, ..Seat::new(room) };
        Self {
            number,
            session: None,
            user: None,
            name: None,
            link: None,
            welcomed: false,
            back_at: 0,
            leaving: false,
            seats: vec![wanted(ME), wanted("lobby")],
            outbox: Outbox::default(),
        }
    }

    pub fn seat(&mut self, room: &str) -> &mut Seat {
        let place = self.seats.iter().position(|seat| seat.room == room).unwrap_or_else(|| {
            self.seats.push(Seat::new(room));
            self.seats.len() - 1
        });
        &mut self.seats[place]
    }

    /// The connection is gone, as far as the client can tell.
    pub fn lost(&mut self, back_at: u64) {
        self.link = None;
        self.welcomed = false;
        self.leaving = false;
        self.back_at = back_at;
        self.outbox.doubt();
        for seat in &mut self.seats {
            seat.live = false;
            seat.state = State::Out;
        }
    }

    /// What it says first. `bare`: without rooms, which leaves where it is to the server.
    pub fn hello(
        &mut self,
        link: usize,
        bare: bool,
        name: Option<String>,
        last: u32,
        truth: &mut Truth,
    ) -> Command<'static> {
        self.link = Some(link);
        let mut entries = Vec::new();
        for seat in &mut self.seats {
            let from = match seat.screen.position() {
                _ if bare => From::Live,
                Some(position) => position,
                None if last > 0 => From::Last(last),
                None => From::Live,
            };
            if bare {
                seat.wanted = seat.room == ME;
                seat.state = if seat.wanted { State::Asked(From::Live) } else { State::Perhaps };
            } else if seat.wanted {
                seat.state = State::Asked(from.clone());
                entries.push(Entry { room: seat.room.clone().into(), from });
            }
        }
        if bare {
            self.outbox.settle(|_| true, Fate::Perhaps, truth);
        }
        let session = self.session.as_ref().map(|text| text.to_string().into());
        let rooms = (!bare).then_some(entries);
        command(Ask::Hello(Hello { name: name.map(Into::into), session, rooms }))
    }

    /// Reads one frame.
    pub fn read(&mut self, message: &Message, truth: &mut Truth, coverage: &mut Coverage) -> Result<Sends, String> {
        hold!(self.welcomed || matches!(message, Message::Welcome(_)), "before the welcome came {message:?}");
        match message {
            Message::Welcome(welcome) => self.read_welcome(welcome, truth, coverage)?,
            Message::Joined(joined) => self.read_joined(joined, truth, coverage)?,
            Message::Line(line) => {
                self.show(line, truth)?;
                self.seat_of(&line.room)?.live = true;
            }
            Message::Page(lines) => {
                coverage.note("a page");
                lines.iter().try_for_each(|line| self.show(line, truth))?;
            }
            Message::Ack { id, room: Some(room), seq: Some(seq), duplicate, .. } => {
                coverage.note(if *duplicate { "an ack of a retry" } else { "an ack" });
                let seat = self.seat_of(room)?;
                let shown = seat.screen.next().is_none_or(|next| next > *seq);
                hold!(!seat.live || shown, "line {seq} of {room} was acknowledged before it came");
                self.outbox.resolve(id, Fate::Acknowledged, truth);
            }
            Message::Ack { .. } => return Err("an ack without a place".into()),
            Message::Left { room, .. } => {
                let seat = self.seat_of(room)?;
                hold!(seat.state == State::Leaving, "left {room}, and is {:?}", seat.state);
                (seat.state, seat.live) = (State::Out, false);
                coverage.note("left");
            }
            Message::Renamed { user, to, .. } if Some(*user) == self.user => self.name = Some(to.clone()),
            Message::Error(error) => self.read_error(error, truth, coverage)?,
            Message::Private { .. } => return Err("a private message that is in no stream".into()),
            _ => {}
        }
        Ok(self.due())
    }

    /// What may be sent now: what the replay did not show again, and what was not sent.
    pub fn due(&mut self) -> Sends {
        let mut sends = Vec::new();
        if self.welcomed && !self.leaving {
            let seats = &self.seats;
            self.outbox.send(|room| seats.iter().any(|seat| seat.room == room && seat.is_through()), &mut sends);
        }
        sends
    }

    fn seat_of(&mut self, room: &RoomName) -> Result<&mut Seat, String> {
        let own = self.user.map(RoomName::stream);
        hold!(!room.is_stream() || own.as_ref() == Some(room), "somebody else's stream {room:?}");
        Ok(self.seat(room.shown()))
    }

    fn read_welcome(&mut self, welcome: &Welcome, truth: &mut Truth, coverage: &mut Coverage) -> Verdict {
        hold!(!self.welcomed, "a second welcome");
        self.welcomed = true;
        if self.user.is_some_and(|user| user != welcome.user) {
            // What somebody else sent cannot be sent again.
            self.outbox.settle(|_| true, Fate::Perhaps, truth);
            coverage.note("somebody new");
        }
        self.user = Some(welcome.user);
        self.name = Some(welcome.name.clone());
        self.session = Some(welcome.session.clone());
        Ok(())
    }

    fn read_joined(&mut self, joined: &Joined, truth: &mut Truth, coverage: &mut Coverage) -> Verdict {
        let me = self.seats.iter().any(|seat| seat.room == ME && seat.state == State::In);
        hold!(me || joined.room.is_stream(), "joined {} before its own stream", joined.room);
        let seat = self.seat_of(&joined.room)?;
        let start = match seat.state.clone() {
            State::Asked(from) => {
                if seat.screen.epoch.as_ref().is_some_and(|epoch| *epoch != joined.epoch)
                    && joined.recovery == Recovery::Recovered
                {
                    coverage.note("recovered under a new epoch");
                }
                seat.screen.begin(&from, joined, truth)?
            }
            State::Again if joined.recovery == Recovery::Fresh => {
                hold!(seat.screen.epoch.as_ref() == Some(&joined.epoch), "another life all of a sudden");
                seat.state = State::In;
                return Ok(());
            }
            State::In | State::Again | State::Leaving => {
                hold!(!seat.live, "a live reader is told of a gap");
                coverage.note("trimming overtook a replay");
                seat.screen.trimmed(joined)?;
                Start::Elsewhere
            }
            State::Perhaps => seat.screen.begin(&From::Live, joined, truth)?,
            state @ (State::Out | State::Refused(_)) => {
                return Err(format!("joined {}, and is {state:?}", joined.room));
            }
        };
        if matches!(seat.state, State::Asked(_) | State::Perhaps) {
            seat.state = State::In;
            seat.wanted = true;
        }
        seat.reaches = joined.seq;
        coverage.note(match joined.recovery {
            Recovery::Fresh => "joined",
            Recovery::Recovered if seat.screen.has_reached(joined.seq) => "recovered",
            Recovery::Recovered => "recovered with lines",
            Recovery::Epoch => "not recovered: epoch",
            Recovery::Ahead => "not recovered: ahead",
            Recovery::Trimmed { .. } => "not recovered: trimmed",
        });
        if start == Start::Elsewhere {
            let room = seat.room.clone();
            if self.outbox.settle(|whither| whither.place() == room, Fate::Perhaps, truth) {
                coverage.note("perhaps sent");
            }
        }
        Ok(())
    }

    fn show(&mut self, line: &Arc<Line>, truth: &mut Truth) -> Verdict {
        let user = self.user;
        let seat = self.seat_of(&line.room)?;
        let there = matches!(seat.state, State::In | State::Again | State::Leaving);
        hold!(there, "a line of {}, where it is {:?}", line.room, seat.state);
        seat.screen.show(line, truth)?;
        if Some(line.draft.user) == user
            && let Some(id) = &line.draft.id
        {
            self.outbox.resolve(id, Fate::Acknowledged, truth);
        }
        Ok(())
    }

    fn read_error(&mut self, error: &ErrorReply, truth: &mut Truth, coverage: &mut Coverage) -> Verdict {
        coverage.note(error.code.text());
        match (error.code, &error.id, &error.room) {
            (code, Some(id), _) if code.retry() => self.outbox.again(id),
            (ErrorCode::NoSuchUser, Some(id), _) => {
                let fate = id.parse().ok().and_then(|number: usize| truth.written.get(number)).map(|line| line.fate);
                hold!(fate != Some(Fate::Acknowledged), "line {id} was acknowledged, and then refused");
                self.outbox.resolve(id, Fate::Failed, truth);
            }
            (code, None, Some(room)) if code.retry() => {
                let seat = self.seat(room);
                if let State::Asked(from) = &seat.state {
                    seat.state = State::Refused(from.clone());
                }
            }
            (ErrorCode::RoomLimit, None, Some(room)) => {
                let seat = self.seat(room);
                seat.wanted = false;
                seat.state = State::Out;
                let room = room.to_string();
                self.outbox.settle(|whither| whither.place() == room, Fate::Perhaps, truth);
            }
            // A binary message of somebody who is in no room.
            (ErrorCode::NotJoined, None, None)
            | (ErrorCode::NameTaken | ErrorCode::NameInvalid | ErrorCode::HistoryGone, ..) => {}
            _ => return Err(format!("an error that nothing was wrong for: {error:?}")),
        }
        Ok(())
    }

    /// Whether all that it wants is so.
    pub fn is_content(&self) -> bool {
        let seats = self.seats.iter().all(|seat| match seat.state {
            State::In => seat.is_through(),
            State::Out | State::Perhaps => !seat.wanted,
            _ => false,
        });
        self.welcomed && seats && self.outbox.is_empty()
    }

    /// Has all that was said in each of its rooms.
    pub fn judge_rest(&self, truth: &Truth) -> Verdict {
        for seat in &self.seats {
            if seat.state != State::In {
                continue;
            }
            let user = self.user.ok_or("nobody is in a room")?;
            let name = if seat.room == ME { Some(RoomName::stream(user)) } else { RoomName::parse(&seat.room) };
            let log = name.as_ref().and_then(|name| truth.log(name)).ok_or("a room that is not there")?;
            let newest = log.lines.len() as u64;
            hold!(
                seat.screen.epoch.as_ref() == Some(&log.epoch),
                "person {} is in another life of {}",
                self.number,
                seat.room
            );
            let reached = seat.screen.next().map_or(log.oldest > newest, |next| next == newest + 1);
            hold!(reached, "person {} has {:?} of {}, and {newest} were said", self.number, seat.screen, seat.room);
        }
        Ok(())
    }

    /// Marks what was never sent, for rooms that it is not in.
    pub fn give_up(&mut self, truth: &mut Truth) {
        let seats = &self.seats;
        let out = |whither: &Whither| !seats.iter().any(|seat| seat.room == whither.place() && seat.wanted);
        self.outbox.give_up(out, truth);
    }
}

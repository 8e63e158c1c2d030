//! The judge is judged: faults that a core could have, done to what the core says, each of which must be found.

use chinwag::chat::command::ErrorCode;
use chinwag::chat::message::Recovery;
use chinwag::chat::{Class, ConnId, Message, Name, Notice};

use crate::turn::{Input, Told, Turn};

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What is done wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

faults! {
    /// One reader of several does not get a line.
    LineLostForOne,
    /// Nobody gets a line.
    LineLostForAll,
    /// One reader gets a line twice.
    LineTwice,
    /// Two lines of a room change places.
    LinesSwapped,
    /// A line goes to somebody who is not in the room.
    LineToStranger,
    /// A line goes to a connection that has ended.
    LineAfterClose,
    /// A line has another text than was said.
    LineChanged,
    /// A line has another name than its speaker's.
    LineWithAnotherName,
    /// An acknowledgement is handed over before its line.
    AckBeforeLine,
    AckLost,
    AckTwice,
    AckWithAnotherSeq,
    /// A retry's acknowledgement does not say that it is one.
    AckOfRetryAsFirst,
    /// A count is one too high, in a welcome or a `joined`.
    WelcomeMiscounts,
    MoveMiscounts,
    /// Nobody is told that somebody came or went.
    MoveLost,
    /// One of the others is not told.
    MoveLostForOne,
    /// Somebody's going is told before that one's last line.
    LeaveBeforeLine,
    /// A rename is told before the last line under the old name.
    RenameBeforeLine,
    RenameLost,
    /// A room's many are told with one too few.
    TallyMiscounts,
    TallyLost,
    WelcomeLost,
    /// A join is told to have recovered though lines are lost.
    TrimmedAsRecovered,
    /// A join says nothing of the room's other life.
    EpochAsRecovered,
    /// A replay leaves a line out.
    PageWithHole,
    /// A replay has a line twice.
    PageLost,
    HistoryWithHole,
    HistoryWithoutMore,
    PresenceIncomplete,
    ErrorWithAnotherCode,
    ErrorLost,
    PongLost,
    /// An answer has lost the request's `ref`.
    ReferenceLost,
    PrivateToAnother,
    PrivateLost,
    TypingTwice,
    BinaryToAll,
    /// The core never hears that a connection ended.
    CloseUnheard,
    /// The core never hears that an outbox is empty.
    DrainUnheard,
    /// The core never hears a store's answer to a line.
    AnswerUnheard,
    /// The core does not hear that a second is over.
    TickUnheard,
}

impl Fault {
    /// Whether it may have no consequences.
    pub fn may_pass_unseen(self) -> bool {
        use Fault as F;
        matches!(
            self,
            // A line may be moved to the place of an earlier one, and so before them again.
            F::AckBeforeLine | F::LeaveBeforeLine | F::RenameBeforeLine
            // Who misses lines of a replay may leave before the next line.
            | F::PageLost | F::DrainUnheard
            // A private retry of long ago may be taken for either.
            | F::AckOfRetryAsFirst
            // There may be nothing to tell, or it hears so later.
            | F::TickUnheard | F::CloseUnheard
        )
    }

    /// Whether the core does not hear of `input`.
    fn hides(self, input: &Input) -> bool {
        use chinwag::chat::Completion;
        match self {
            Self::CloseUnheard => matches!(input, Input::Closed { .. }),
            Self::DrainUnheard => matches!(input, Input::Drained { .. }),
            Self::AnswerUnheard => matches!(input, Input::Completed(Completion::Appended { .. })),
            Self::TickUnheard => matches!(input, Input::Tick),
            _ => false,
        }
    }
}

/// Does one fault, once, at a chance that comes by.
#[derive(Debug)]
pub struct Saboteur {
    fault: Fault,
    dice: fastrand::Rng,
    /// The turn in which it was done.
    pub done: bool,
    /// Connections that ended.
    ended: Vec<ConnId>,
}

impl Saboteur {
    pub fn new(fault: Fault, seed: u64) -> Self {
        Self { fault, dice: fastrand::Rng::with_seed(seed ^ 0xbad), done: false, ended: Vec::new() }
    }

    /// One chance in so many is taken.
    fn dares(&mut self) -> bool {
        !self.done && self.dice.u8(0..6) == 0
    }

    /// Whether the core shall not hear of this. A tick is never heard again: the next would do instead.
    pub fn hides(&mut self, input: &Input) -> bool {
        let again = self.done && self.fault == Fault::TickUnheard;
        let hides = self.fault.hides(input) && (again || self.dares());
        self.done |= hides;
        hides
    }

    /// Spoils a turn, perhaps. `everybody` is who is connected.
    pub fn spoil(&mut self, turn: &mut Turn, everybody: &[ConnId]) {
        let ended = turn.steps.iter().filter_map(|step| match step.input {
            Input::Closed { conn, .. } => Some(conn),
            _ => None,
        });
        self.ended.extend(ended);
        for place in 0..turn.told.len() {
            if self.done {
                return;
            }
            let before = turn.told.len();
            if self.fits(turn, place, everybody) && self.dares() {
                self.done = true;
                self.spoil_one(&mut turn.told, place, everybody);
                debug_assert!(turn.told.len() + 1 >= before);
            }
        }
    }

    /// Whether the fault can be done to this delivery, so that somebody could see it.
    fn fits(&self, turn: &Turn, place: usize, everybody: &[ConnId]) -> bool {
        use Fault as F;
        let told = &turn.told[place];
        let several = told.readers.len() > 1;
        let connected = told.readers.iter().all(|conn| everybody.contains(conn));
        let strangers = || everybody.iter().any(|conn| !told.readers.contains(conn));
        let line_before = || connected && line_before(&turn.told, place).is_some();
        let message = &told.message;
        match self.fault {
            F::LineLostForOne => matches!(message, Message::Line(_)) && several && connected,
            F::LineLostForAll | F::LineTwice | F::LineWithAnotherName | F::LineChanged => {
                matches!(message, Message::Line(_)) && connected
            }
            F::LinesSwapped => match message {
                Message::Line(line) => connected && next_line(&turn.told, place, &line.room).is_some(),
                _ => false,
            },
            F::LineToStranger => matches!(message, Message::Line(_)) && strangers(),
            F::LineAfterClose => matches!(message, Message::Line(_)) && !self.ended.is_empty(),
            F::AckBeforeLine => {
                matches!(message, Message::Ack { seq: Some(_), room: Some(_), duplicate: false, .. }) && line_before()
            }
            F::LeaveBeforeLine => matches!(message, Message::UserLeave { .. }) && line_before(),
            F::RenameBeforeLine => matches!(message, Message::System(Notice::Renamed { .. })) && line_before(),
            F::AckLost | F::AckTwice => matches!(message, Message::Ack { .. }),
            F::AckWithAnotherSeq => matches!(message, Message::Ack { seq: Some(_), .. }),
            F::AckOfRetryAsFirst => matches!(message, Message::Ack { duplicate: true, .. }),
            F::WelcomeMiscounts => matches!(message, Message::System(Notice::Welcome { .. }) | Message::Joined(_)),
            F::WelcomeLost => matches!(message, Message::System(Notice::Welcome { .. })),
            F::MoveMiscounts | F::MoveLost => matches!(message, Message::UserJoin { .. } | Message::UserLeave { .. }),
            F::MoveLostForOne => matches!(message, Message::UserJoin { .. } | Message::UserLeave { .. }) && several,
            F::RenameLost => matches!(message, Message::System(Notice::Renamed { .. })),
            F::TallyMiscounts | F::TallyLost => matches!(message, Message::Coming { .. }),
            F::TrimmedAsRecovered | F::EpochAsRecovered => match message {
                Message::Joined(joined) if self.fault == F::EpochAsRecovered => joined.recovery == Recovery::Epoch,
                Message::Joined(joined) => matches!(joined.recovery, Recovery::Trimmed { .. }),
                _ => false,
            },
            F::PageWithHole => matches!(message, Message::Page(lines) if lines.len() > 2) && connected,
            F::PageLost => matches!(message, Message::Page(_)) && connected,
            F::HistoryWithHole => matches!(message, Message::History(history) if history.lines.len() > 2),
            F::HistoryWithoutMore => matches!(message, Message::History(history) if history.more),
            F::PresenceIncomplete => matches!(message, Message::Presence { users, .. } if users.len() > 1),
            F::ErrorWithAnotherCode | F::ErrorLost => matches!(message, Message::Error(_)),
            F::PongLost => matches!(message, Message::Pong { .. }),
            F::ReferenceLost => has_reference(message),
            F::PrivateToAnother => is_private(message) && strangers(),
            F::PrivateLost => is_private(message),
            F::TypingTwice => matches!(message, Message::System(Notice::Typing { .. })),
            F::BinaryToAll => matches!(message, Message::Binary(_)) && strangers(),
            F::CloseUnheard | F::DrainUnheard | F::AnswerUnheard | F::TickUnheard => false,
        }
    }

    fn spoil_one(&mut self, all: &mut Vec<Told>, place: usize, everybody: &[ConnId]) {
        use Fault as F;
        let stranger = || everybody.iter().copied().find(|conn| !all[place].readers.contains(conn));
        match self.fault {
            F::LineLostForOne | F::MoveLostForOne => drop(all[place].readers.pop()),
            F::LineTwice => {
                let mut again = all[place].clone();
                again.readers.truncate(1);
                all.insert(place + 1, again);
            }
            F::AckTwice | F::TypingTwice => all.insert(place + 1, all[place].clone()),
            F::LinesSwapped => {
                let Message::Line(line) = &all[place].message else { return };
                let other = next_line(all, place, &line.room).expect("it fits");
                let message = all[place].message.clone();
                all[place].message = std::mem::replace(&mut all[other].message, message);
            }
            F::LineToStranger | F::PrivateToAnother => {
                let stranger = stranger().expect("it fits");
                let single = matches!(self.fault, F::PrivateToAnother);
                if single {
                    all[place].readers.clear();
                }
                all[place].readers.push(stranger);
            }
            F::LineAfterClose => {
                let ended = self.ended[self.dice.usize(0..self.ended.len())];
                all[place].readers.push(ended);
            }
            F::BinaryToAll => all[place].readers = everybody.to_vec(),
            F::AckBeforeLine | F::LeaveBeforeLine | F::RenameBeforeLine => {
                let line = line_before(all, place).expect("it fits");
                let mut told = all.remove(place);
                if told.class == Class::Ack {
                    told.class = Class::Reply;
                }
                // Each delivery keeps its step: what was said in which step is the core's to know, the order is judged.
                told.step = all[line].step;
                all.insert(line, told);
            }
            fault if is_loss(fault) => drop(all.remove(place)),
            _ => self.spoil_message(&mut all[place].message),
        }
    }

    fn spoil_message(&mut self, message: &mut Message) {
        match message {
            Message::Line(line) => {
                let mut other = (**line).clone();
                if self.fault == Fault::LineChanged {
                    other.draft.message = "something else".into();
                } else {
                    other.draft.from = Name::parse("mallory", 32).expect("a good name");
                }
                *line = other.into();
            }
            Message::Ack { seq, .. } if self.fault == Fault::AckWithAnotherSeq => *seq = seq.map(|seq| seq + 1),
            Message::Ack { duplicate, .. } if self.fault == Fault::AckOfRetryAsFirst => *duplicate = false,
            Message::System(Notice::Welcome { online })
            | Message::UserJoin { online, .. }
            | Message::UserLeave { online, .. } => *online += 1,
            Message::Joined(joined) => match self.fault {
                Fault::WelcomeMiscounts => joined.online += 1,
                Fault::ReferenceLost => joined.reference = None,
                _ => joined.recovery = Recovery::Recovered,
            },
            Message::Coming { joined, left, .. } => *(if *joined > 0 { joined } else { left }) -= 1,
            Message::Page(lines) => drop(lines.remove(1)),
            Message::History(history) => match self.fault {
                Fault::HistoryWithHole => drop(history.lines.remove(1)),
                Fault::ReferenceLost => history.reference = None,
                _ => history.more = false,
            },
            Message::Presence { users, .. } if self.fault == Fault::PresenceIncomplete => drop(users.pop()),
            Message::Error(error) => match self.fault {
                Fault::ReferenceLost => error.reference = None,
                _ if error.code == ErrorCode::BadRequest => error.code = ErrorCode::NotJoined,
                _ => error.code = ErrorCode::BadRequest,
            },
            Message::Ack { reference, .. }
            | Message::Left { reference, .. }
            | Message::Renamed { reference, .. }
            | Message::Presence { reference, .. }
            | Message::Pong { reference, .. } => *reference = None,
            other => panic!("{:?} does not fit {other:?}", self.fault),
        }
    }
}

fn is_loss(fault: Fault) -> bool {
    use Fault as F;
    matches!(
        fault,
        F::LineLostForAll
            | F::AckLost
            | F::MoveLost
            | F::RenameLost
            | F::TallyLost
            | F::WelcomeLost
            | F::PageLost
            | F::ErrorLost
            | F::PongLost
            | F::PrivateLost
    )
}

fn is_private(message: &Message) -> bool {
    matches!(message, Message::Private { .. } | Message::System(Notice::Private { .. }))
}

fn has_reference(message: &Message) -> bool {
    match message {
        Message::Joined(joined) => joined.reference.is_some(),
        Message::History(history) => history.reference.is_some(),
        Message::Error(error) => error.reference.is_some(),
        Message::Ack { reference, .. }
        | Message::Left { reference, .. }
        | Message::Renamed { reference, .. }
        | Message::Presence { reference, .. }
        | Message::Pong { reference, .. } => reference.is_some(),
        _ => false,
    }
}

/// The next line of the same room.
fn next_line(all: &[Told], place: usize, room: &str) -> Option<usize> {
    (place + 1..all.len()).find(|&other| matches!(&all[other].message, Message::Line(line) if &*line.room == room))
}

/// The line of the same user that was told just before, in the same step.
fn line_before(all: &[Told], place: usize) -> Option<usize> {
    (0..place).rev().find(|&other| {
        let Message::Line(line) = &all[other].message else { return false };
        all[other].step == all[place].step
            && match &all[place].message {
                Message::UserLeave { user, .. } => line.draft.user == *user,
                Message::System(Notice::Renamed { from, .. }) => line.draft.from == *from,
                Message::Ack { room, seq, .. } => {
                    Some(&line.room) == room.as_ref()
                        && Some(line.seq) == *seq
                        && all[other].readers.contains(&all[place].readers[0])
                }
                _ => false,
            }
    })
}

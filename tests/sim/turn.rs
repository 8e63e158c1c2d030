//! What happened in one turn, as plain values: what the core was given and what it said to that. The model judges these.

use std::ops::Range;

use chinwag::chat::{Class, CloseReason, Command, Completion, ConnId, Event, Message, Now, Request, RoomName};

/// One event, owned.
#[derive(Clone, Debug)]
pub enum Input {
    Opened { conn: ConnId, room: RoomName, name: Option<String>, secret: [u8; 16] },
    Heard { conn: ConnId, command: Command<'static> },
    Closed { conn: ConnId, for_good: bool },
    Drained { conn: ConnId },
    Completed(Completion),
    Tick,
}

impl Input {
    pub fn event(&self) -> Event<'_> {
        match self {
            Self::Opened { conn, room, name, secret } => {
                Event::Opened { conn: *conn, room: room.clone(), name: name.as_deref(), secret: *secret }
            }
            Self::Heard { conn, command } => Event::Heard { conn: *conn, command: command.clone() },
            Self::Closed { conn, for_good } => Event::Closed { conn: *conn, for_good: *for_good },
            Self::Drained { conn } => Event::Drained { conn: *conn },
            Self::Completed(completion) => Event::Completed(completion.clone()),
            Self::Tick => Event::Tick,
        }
    }
}

/// One event, and what the core asked of the store on it.
#[derive(Clone, Debug)]
pub struct Step {
    pub now: Now,
    pub input: Input,
    pub requests: Vec<Request>,
    pub closes: Vec<(ConnId, CloseReason)>,
    /// Rate tokens that it cost whom it came from.
    pub cost: u32,
}

/// One delivery.
#[derive(Clone, Debug)]
pub struct Told {
    /// The step in which the core said it.
    pub step: usize,
    pub message: Message,
    pub readers: Vec<ConnId>,
    /// The range that `readers` were: deliveries that share it may be moved together.
    pub range: Range<u32>,
    pub class: Class,
    /// Noted by the model: the first line that the reader gets from here on, or would get if it did not leave.
    pub begin: Option<Begin>,
}

/// Where a reader begins in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The `seq` of the first line that it must get.
    pub next: u64,
    /// Whether the first may also be a later one, if those before it are not kept any more.
    pub or_later: bool,
    /// Whether nothing is missed so far: lines come as they are said.
    pub live: bool,
}

/// What it is, cut where it gets too long to read.
pub fn brief(what: &impl std::fmt::Debug) -> String {
    let mut text = format!("{what:?}");
    if let Some((end, _)) = text.char_indices().nth(1_000) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A turn.
#[derive(Debug, Default)]
pub struct Turn {
    pub steps: Vec<Step>,
    pub told: Vec<Told>,
}

impl Turn {
    /// The deliveries in the order in which an engine may hand them over: those of [`Class::Room`] that share a range
    /// moved together to the place of the first, if `gathered` says so for that range; then acknowledgements.
    pub fn in_order(&self, mut gathered: impl FnMut(&Range<u32>) -> bool) -> Vec<&Told> {
        let mut groups: Vec<(&Range<u32>, Vec<&Told>)> = Vec::new();
        let mut acks = Vec::new();
        let mut by_range = std::collections::HashMap::new();
        for told in &self.told {
            match told.class {
                Class::Ack => acks.push(told),
                Class::Room => {
                    let place = *by_range.entry(&told.range).or_insert_with(|| {
                        let gather = gathered(&told.range);
                        if gather {
                            groups.push((&told.range, Vec::new()));
                        }
                        gather.then(|| groups.len() - 1)
                    });
                    match place {
                        Some(place) => groups[place].1.push(told),
                        None => groups.push((&told.range, vec![told])),
                    }
                }
                Class::Ephemeral | Class::Reply => groups.push((&told.range, vec![told])),
            }
        }
        groups.into_iter().flat_map(|(_, told)| told).chain(acks).collect()
    }
}

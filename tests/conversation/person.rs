//! A person: the client's conversation, and what it has shown, held against what was stored.

use std::collections::{HashMap, HashSet};

use chinwag::chat::RoomName;
use chinwag::client::Mode;
use chinwag::client::conversation::{Conversation, Settings};
use chinwag::client::talk::{OwnWord, Said, Shown};

use crate::server::{Place, Server};
use crate::{Coverage, Verdict, hold};

/// What the person was told of an own line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing but that it was shown.
    Fine,
    NotSent,
    PerhapsSent,
    Refused,
}

/// What was shown of a room.
#[derive(Debug, Default)]
struct View {
    last: Option<Place>,
    may_miss: bool,
    shown: HashSet<(String, u64)>,
}

pub struct Person {
    pub number: usize,
    pub mode: Mode,
    pub conversation: Conversation,
    /// Its connection.
    pub link: Option<usize>,
    /// A connection stands then.
    pub opens_at: Option<u64>,
    pub session: Option<String>,
    /// As the server said it last.
    pub user: String,
    views: HashMap<String, View>,
    pub lines: HashMap<String, Fate>,
    pub said: usize,
    /// Lines said by this client.
    said_now: Vec<String>,
    /// It was welcomed.
    came_in: bool,
    pub rooms: Vec<String>,
    pub waiting: usize,
    pub connected: bool,
    pub ended: Option<bool>,
    pub starts: u64,
    /// The `id`s of all that was ever sent.
    pub sent: HashSet<String>,
}

fn conversation(number: usize, mode: Mode, session: Option<String>, seed: u64) -> Conversation {
    let settings = Settings {
        url: "ws://there".into(),
        name: Some(format!("p{number}")),
        rooms: vec!["lobby".into()],
        rooms_matter: false,
        mode,
        once: false,
        session,
    };
    Conversation::new(settings, fastrand::Rng::with_seed(seed))
}

impl Person {
    pub fn new(number: usize, mode: Mode, seed: u64) -> Self {
        Self {
            number,
            mode,
            conversation: conversation(number, mode, None, seed),
            link: None,
            opens_at: None,
            session: None,
            user: String::new(),
            views: HashMap::new(),
            lines: HashMap::new(),
            said: 0,
            said_now: Vec::new(),
            came_in: false,
            rooms: vec!["lobby".into()],
            waiting: 0,
            connected: false,
            ended: None,
            starts: 0,
            sent: HashSet::new(),
        }
    }

    /// Another client of the same person.
    pub fn start_again(&mut self, seed: u64) {
        self.starts += 1;
        self.conversation = conversation(self.number, self.mode, self.session.clone(), seed ^ self.starts);
        self.views.clear();
        self.said_now.clear();
        self.came_in = false;
        self.rooms = vec!["lobby".into()];
        (self.link, self.opens_at, self.ended) = (None, None, None);
    }

    /// A line that nobody said before.
    pub fn compose(&mut self, padding: usize) -> String {
        self.said += 1;
        let line = format!("p{}-{}{}", self.number, self.said, " \u{e9}\"".repeat(padding));
        self.lines.insert(line.clone(), Fate::Fine);
        self.said_now.push(line.clone());
        line
    }

    /// Comes into a room anew.
    pub fn forget(&mut self, room: &str) {
        self.views.remove(room);
    }

    pub fn see(&mut self, shown: Shown, server: &Server, coverage: &mut Coverage) -> Verdict {
        let mut note = |what| *coverage.entry(what).or_default() += 1;
        match shown {
            Shown::Said(said) => {
                note(if said.old {
                    "an older line"
                } else if said.room.is_none() {
                    "a private line"
                } else {
                    "a line"
                });
                self.see_line(&said, server)?;
            }
            Shown::State { waiting, rooms, connected, name, .. } => {
                hold!(waiting <= 100, "{waiting} lines wait");
                if !name.is_empty() && !name.starts_with('p') && !name.starts_with("guest-") {
                    note("a new name");
                }
                (self.waiting, self.rooms, self.connected) = (waiting, rooms, connected);
            }
            Shown::Ended { success, .. } => {
                self.ended = Some(success);
                // Who never came in is told once that nothing was sent.
                if !success && !self.came_in {
                    for line in std::mem::take(&mut self.said_now) {
                        if self.lines[&line] == Fate::Fine {
                            self.decide(&line, Fate::NotSent)?;
                        }
                    }
                }
            }
            Shown::Refused { code, about, .. } => {
                note(match &*code {
                    "no_such_user" => "refused: no_such_user",
                    "room_limit" => "refused: room_limit",
                    "name_taken" => "refused: name_taken",
                    "history_gone" | "not_joined" | "overloaded" | "storage_full" | "internal" => "refused",
                    other => return Err(format!("nothing was wrong, and refused is {other} about {about:?}")),
                });
                if let Some(line) = about {
                    self.decide(&line.message, Fate::Refused)?;
                }
            }
            Shown::Own(word) => match word {
                OwnWord::MayMiss { room, reason } => note(self.may_miss(room, &reason)?),
                OwnWord::PerhapsSent { line } => {
                    note("perhaps sent");
                    self.decide(&line.message, Fate::PerhapsSent)?;
                }
                OwnWord::NotSent { line } => {
                    note("not sent");
                    self.decide(&line.message, Fate::NotSent)?;
                }
                OwnWord::Connected { .. } => self.came_in = true,
                OwnWord::Back { missed } if missed > 0 => note("back, and lines were missed"),
                OwnWord::Reconnecting { .. } => note("reconnecting"),
                _ => {}
            },
            Shown::Notice { .. } | Shown::Present { .. } => {}
            Shown::Text(_) | Shown::Frame(_) => return Err(format!("shown is {shown:?}")),
        }
        Ok(())
    }

    fn may_miss(&mut self, room: String, reason: &str) -> Result<&'static str, String> {
        let view = self.views.entry(room).or_default();
        view.may_miss = true;
        Ok(match reason {
            "epoch" => {
                // It is said to be another log: what is in it may be known.
                view.shown.clear();
                "epoch"
            }
            "trimmed" => "trimmed",
            "ahead" => "ahead",
            _ => return Err(format!("an unknown reason {reason}")),
        })
    }

    fn decide(&mut self, line: &str, fate: Fate) -> Verdict {
        let Some(known) = self.lines.get_mut(line) else { return Err(format!("{line} is nobody's")) };
        hold!(*known == Fate::Fine, "{line} was told {known:?} and is told {fate:?}");
        *known = fate;
        Ok(())
    }

    fn see_line(&mut self, said: &Said, server: &Server) -> Verdict {
        let name = said.room.clone().unwrap_or_else(|| "@me".into());
        let places = server.stored.get(&said.message).ok_or_else(|| format!("{said:?} was never stored"))?;
        let here = |place: &&Place| match &said.room {
            Some(room) => *place.room == **room,
            None => format!("{:?}", place.room).contains(&self.user) || is_stream_of(&place.room, &self.user),
        };
        hold!(said.own == self.lines.contains_key(&said.message), "whose is {said:?}?");
        if said.own {
            let fate = self.lines[&said.message];
            hold!(matches!(fate, Fate::Fine | Fate::PerhapsSent), "{fate:?} was told of {said:?}");
        }
        let view = self.views.entry(name).or_default();
        // What was lost may have been said again; which of the two it is, only the place can tell.
        let rank =
            |place: &&Place| (view.shown.contains(&(place.epoch.clone(), place.seq)), server.lost.contains_key(place));
        let perhaps: Vec<_> = places.iter().filter(here).collect();
        let place = perhaps.iter().copied().min_by_key(rank);
        let place = place.ok_or_else(|| format!("{said:?} is not of this room: {places:?}"))?;
        let fresh = view.shown.insert((place.epoch.clone(), place.seq));
        hold!(fresh, "{said:?} is shown twice");
        if said.old {
            return Ok(());
        }
        if let Some(last) = &view.last {
            // Under another epoch only after a line that was still there.
            let goes_on = |place: &&Place| {
                place.seq == last.seq + 1
                    && (last.epoch == place.epoch || server.lost.get(last).is_none_or(|start| *start > place.start))
            };
            let follows = view.may_miss || perhaps.iter().any(goes_on);
            hold!(follows, "{said:?} at {place:?} is shown after {last:?}");
        }
        view.may_miss = false;
        view.last = Some(place.clone());
        Ok(())
    }

    /// In the end it has seen everything, and what it said is stored, or it was told.
    pub fn judge(&self, server: &Server) -> Verdict {
        for room in self.rooms.iter().map(String::as_str).chain(["@me"]) {
            let last = self.views.get(room).and_then(|view| view.last.as_ref());
            let Some(last) = last.filter(|_| !self.conversation.is_over()) else { continue };
            let Some(log) = server.logs.get(&last.room) else { continue };
            // Where that is lost, and all that is left it had seen before, it was told.
            let told = self.views[room].may_miss && server.lost.contains_key(last);
            let newest = log.lines.last_key_value().map(|(_, place)| place);
            let same = newest == Some(last) || newest.is_none() || told;
            hold!(same, "person {} has {last:?} of {room}, and {newest:?} is the newest", self.number);
        }
        for (line, fate) in &self.lines {
            let all = server.stored.get(line).map_or(&[][..], Vec::as_slice);
            let places: Vec<_> = all.iter().filter(|place| !server.lost.contains_key(place)).collect();
            let mut rooms: Vec<&RoomName> = places.iter().map(|place| &place.room).collect();
            rooms.dedup();
            hold!(rooms.len() == places.len(), "{line} is stored twice: {places:?}");
            let good = match fate {
                Fate::Fine => !all.is_empty(),
                Fate::NotSent | Fate::Refused => places.is_empty(),
                Fate::PerhapsSent => true,
            };
            hold!(good, "{line}: told was {fate:?}, and stored is {places:?}");
        }
        Ok(())
    }
}

fn is_stream_of(room: &RoomName, user: &str) -> bool {
    chinwag::chat::UserId::parse(user).is_some_and(|user| *room == RoomName::stream(user))
}

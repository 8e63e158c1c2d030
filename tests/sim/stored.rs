//! What must follow from what the core asks of the store, and from what the store answers.

use std::sync::Arc;

use chinwag::chat::command::From;
use chinwag::chat::{CloseReason, Completion, ConnId, ErrorCode, Line, Request, RoomKey, RoomName};

use crate::hold;
use crate::model::{Asked, Due, Flight, Model, Room, Said, Verdict, Waiting};
use crate::store::Store;
use crate::turn::{Input, Step};

impl Model {
    /// Takes note of what the core asked of the store in this step. (Lines are noted where they were heard.)
    pub fn requested(&mut self, step: &Step) -> Verdict {
        for request in &step.requests {
            match request {
                Request::Load { ticket, room: key, name, must_exist } => {
                    hold!(*must_exist == name.is_stream(), "nobody here has a stream, and {name} was loaded");
                    hold!(!matches!(step.input, Input::Completed(_)), "an answer made a room load");
                    let room = self.rooms.entry(name.clone()).or_insert_with(|| Room { oldest: 1, ..Room::default() });
                    hold!(room.key.is_none(), "{name} was loaded twice");
                    room.key = Some(*key);
                    let other = self.keys.insert(*key, name.clone());
                    hold!(other.is_none(), "{key:?} is {other:?}");
                    self.asked.insert(*ticket, Asked::Load(name.clone()));
                }
                Request::Append { ticket, .. } => {
                    hold!(matches!(self.asked.get(ticket), Some(Asked::Line(_))), "a line was stored that nobody said");
                }
                Request::Fetch { ticket, room: key, part } => {
                    let room = self.keys.get(key).ok_or("a room was read that is not loaded")?.clone();
                    let asked = self.reader(step, &room, part.seqs.0)?;
                    if let Asked::Probe { conn, .. } | Asked::Page { conn, .. } | Asked::History { conn, .. } = asked {
                        self.user(conn).outstanding += 1;
                    }
                    self.asked.insert(*ticket, asked);
                }
                Request::Recall { ticket, room: key, seqs: (first, last) } => {
                    let room = self.keys.get(key).ok_or("ids were read of a room that is not loaded")?.clone();
                    let newest = self.newest(&room);
                    let window = newest.saturating_sub(self.limits.dedup_room_max as u64);
                    let good = (1..=*last).contains(first) && *last <= newest && *first > window;
                    hold!(good, "the ids of {first} to {last} were read, of {newest}");
                    self.asked.insert(*ticket, Asked::Ids { room, last: *last });
                }
                Request::Unload { .. } => {}
            }
        }
        Ok(())
    }

    /// For whom something is read.
    fn reader(&mut self, step: &Step, room: &RoomName, from_seq: u64) -> Result<Asked, String> {
        match step.input {
            Input::Drained { conn } => Ok(Asked::Page { conn, room: room.clone() }),
            Input::Heard { conn, .. } => match self.users[&conn].waiting {
                Some(Waiting::Join { .. }) => Ok(Asked::Probe { conn, room: room.clone() }),
                Some(Waiting::History { .. }) => Ok(Asked::History { conn, room: room.clone() }),
                _ => Err("something was read that nobody asked for".into()),
            },
            Input::Completed(Completion::Loaded { .. }) => {
                let place = |conn: &ConnId| match &self.users[conn].waiting {
                    Some(Waiting::Join { room: asked, from: From::Position { seq, .. }, order, .. })
                        if asked == room && (*seq).max(1) == from_seq && !self.current.probed.contains(conn) =>
                    {
                        Some(*order)
                    }
                    _ => None,
                };
                let waiters = self.users.keys().filter_map(|conn| place(conn).map(|order| (order, *conn)));
                let (_, conn) = waiters.min().ok_or("something was read that nobody waits for")?;
                self.current.probed.push(conn);
                Ok(Asked::Probe { conn, room: room.clone() })
            }
            _ => Err("something was read for nobody".into()),
        }
    }

    /// Takes note of the rooms that the core gave back.
    pub fn unloaded(&mut self, step: &Step) -> Verdict {
        for request in &step.requests {
            let Request::Unload { room: key, wall_ms } = request else { continue };
            hold!(*wall_ms == step.now.wall_ms, "{key:?} was unloaded at another time");
            let name = self.keys.remove(key).ok_or("a room was unloaded that is not loaded")?;
            let open = self.asked.values().find(|asked| asked.room() == &name);
            hold!(open.is_none(), "{name} was unloaded before {open:?} was answered");
            let room = self.rooms.get_mut(&name).expect("it was loaded");
            hold!(room.members.is_empty(), "{name} was unloaded under {:?}", room.members);
            room.key = None;
            room.tally = (0, 0);
            self.coverage.note("a room unloaded");
        }
        Ok(())
    }

    /// Takes note of what the store answered: what may and must be told now.
    pub fn completed(&mut self, completion: &Completion) -> Verdict {
        let asked = self.asked.remove(&completion.ticket()).expect("the store answers what it was asked");
        if let Some(conn) = asked.conn() {
            self.user(conn).outstanding -= 1;
            self.current.settling = Some(conn);
        }
        match (asked, completion) {
            (Asked::Load(name), Completion::Loaded { room, epoch, newest, former, .. }) => {
                self.loaded(&name, *room, epoch, *newest)?;
                self.rooms.get_mut(&name).expect("it was just there").former.clone_from(former);
                Ok(())
            }
            (Asked::Load(name), Completion::Refused { code, .. }) => {
                self.not_loaded(&name, *code);
                Ok(())
            }
            (Asked::Line(flight), Completion::Appended { lines, .. }) => self.appended(flight, &lines[0]),
            (Asked::Line(flight), Completion::Refused { code, .. }) => {
                self.not_appended(flight, *code);
                Ok(())
            }
            (Asked::Ids { room, last }, Completion::Recalled { through, .. }) => {
                self.current.recalled = (*through >= last).then_some((room, None));
                Ok(())
            }
            (Asked::Ids { room, .. }, Completion::Refused { code, .. }) => {
                self.current.recalled = Some((room, Some(*code)));
                Ok(())
            }
            (asked, Completion::Fetched { lines, oldest, .. }) => {
                let room = self.rooms.get_mut(asked.room()).expect("a room that is read was loaded");
                room.oldest = room.oldest.max(*oldest);
                for line in lines {
                    let known = room.lines.get(line.seq as usize - 1);
                    let known = known.unwrap_or_else(|| room.ahead.entry(line.seq).or_insert_with(|| line.clone()));
                    hold!(known == line, "{known:?} was read as {line:?}");
                }
                self.current.fetched = Some((asked, lines.clone(), *oldest));
                Ok(())
            }
            (asked, Completion::Refused { code, .. }) => {
                self.not_fetched(&asked, *code);
                Ok(())
            }
            (asked, completion) => panic!("{asked:?} was answered with {completion:?}"),
        }
    }

    fn loaded(&mut self, name: &RoomName, key: RoomKey, epoch: &Arc<str>, newest: u64) -> Verdict {
        let room = self.rooms.get_mut(name).expect("somebody asked for it");
        hold!(room.key == Some(key), "{name} is {:?} and was loaded as {key:?}", room.key);
        let is_known = room.epoch.as_ref() == Some(epoch);
        hold!(!(is_known && room.is_cut), "{name} has lost lines, and is the same");
        if is_known || newest > 0 {
            self.coverage.note(if is_known { "a room loaded again" } else { "a room loaded under a new epoch" });
            (room.epoch, room.is_cut) = (Some(epoch.clone()), false);
            hold!(
                newest == room.lines.len() as u64,
                "{name} has {} lines, and was loaded with {newest}",
                room.lines.len()
            );
            return Ok(());
        }
        hold!(newest == 0, "a new life starts from nothing");
        if let (Some(old), Some(line)) = (&room.epoch, room.lines.last()) {
            self.past.push((name.clone(), old.clone(), line.seq, line.draft.time_ms));
            self.coverage.note("a room's next life");
        }
        *room = Room {
            key: room.key,
            epoch: Some(epoch.clone()),
            tally_told: room.tally_told,
            oldest: 1,
            ..Room::default()
        };
        Ok(())
    }

    /// The server was started again, and the store was not: who was there is gone, and what was answered is there, unless some
    /// of the end `may_miss`. What was not answered may be there.
    pub fn restart(&mut self, store: &Store, may_miss: bool) -> Verdict {
        (self.users, self.ids, self.names) = Default::default();
        (self.keys, self.asked, self.said) = Default::default();
        self.ids_stored = 0;
        for (name, room) in &mut self.rooms {
            let there: Vec<_> = store.lines(name).cloned().collect();
            let same = room.lines.iter().zip(&there).take_while(|(was, is)| was == is).count();
            hold!(same == room.lines.len().min(there.len()), "line {} of {name} has become another", same + 1);
            hold!(may_miss || same == room.lines.len(), "{name} had {} lines, and has {same}", room.lines.len());
            let lacks = |(seq, line): (&u64, &Arc<Line>)| there.get(*seq as usize - 1) != Some(line);
            hold!(may_miss || !room.ahead.iter().any(lacks), "a line of {name} was read, and is not there");
            room.is_cut |= same < room.lines.len();
            if let Some(epoch) = room.epoch.as_ref().filter(|_| may_miss) {
                let places = [room.lines.last(), there.last()].into_iter().flatten();
                let places: Vec<_> = places.map(|line| (line.seq, line.draft.time_ms)).collect();
                self.past.extend(places.into_iter().map(|(seq, time_ms)| (name.clone(), epoch.clone(), seq, time_ms)));
            }
            let (epoch, is_cut) = (room.epoch.take(), room.is_cut);
            *room = Room { epoch, is_cut, lines: there, oldest: 1, ..Room::default() };
        }
        Ok(())
    }

    /// Nobody gets in: whoever came by the path is sent away, the others hear so.
    fn not_loaded(&mut self, name: &RoomName, code: ErrorCode) {
        let room = self.rooms.get_mut(name).expect("somebody asked for it");
        self.keys.remove(&room.key.take().expect("it was being loaded"));
        for (conn, user) in &mut self.users {
            match &user.waiting {
                Some(Waiting::Welcome { room, .. }) if room == name => {
                    self.current.closes.push((*conn, CloseReason::Overloaded));
                    self.coverage.note("a welcome refused");
                    user.waiting = None;
                }
                Some(Waiting::Join { room, reference, .. }) if room == name => {
                    let (room, reference) = (Some(name.to_string()), reference.clone());
                    self.current.due.push(Due::Error { conn: *conn, code, room, or_room: None, reference, id: None });
                    self.coverage.note("a join refused");
                    user.waiting = None;
                }
                Some(Waiting::Post { stream, id, reference }) if stream == name => {
                    let (id, reference) = (id.clone(), reference.clone());
                    self.current.due.push(Due::Error { conn: *conn, code, room: None, or_room: None, reference, id });
                    self.coverage.note("a private message to nobody");
                    user.waiting = None;
                }
                _ => {}
            }
        }
    }

    fn appended(&mut self, flight: Flight, line: &Arc<Line>) -> Verdict {
        let Flight { conn, room: name, draft, references, .. } = flight;
        let room = self.rooms.get_mut(&name).expect("it is loaded");
        let newest = room.lines.len() as u64 + 1;
        hold!(line.seq == newest, "{name} has a line {} where {newest} comes next", line.seq);
        hold!(line.room == name && line.draft == draft, "{draft:?} became {line:?}");
        let read = room.ahead.remove(&newest);
        hold!(read.is_none_or(|read| read == *line), "line {newest} was read as another");
        room.lines.push(line.clone());
        self.current.lines.push_back(line.clone());
        let Some(id) = draft.id else { return Ok(()) };
        let epoch = room.epoch.clone().expect("it is loaded");
        self.said.insert((draft.user, Some(name.clone()), id.to_string()), Said::Stored { seq: newest, epoch });
        self.ids_stored += 1;
        if !self.users[&conn].gone {
            for (count, reference) in references.into_iter().enumerate() {
                self.coverage.note("an ack");
                self.owe_ack(conn, Some(name.clone()), &id, Some(newest), count > 0, reference);
            }
        }
        Ok(())
    }

    fn not_appended(&mut self, flight: Flight, code: ErrorCode) {
        let Flight { conn, room, typed, draft, references } = flight;
        self.coverage.note("a line refused");
        let id = draft.id.map(|id| id.to_string());
        if let Some(id) = &id {
            self.said.remove(&(draft.user, Some(room.clone()), id.clone()));
        }
        if self.users[&conn].gone {
            return;
        }
        for reference in references {
            let (room, or_room, id) = (typed.clone(), Some(room.clone()), id.clone());
            self.current.due.push(Due::Error { conn, code, room, or_room, reference, id });
        }
    }

    fn not_fetched(&mut self, asked: &Asked, code: ErrorCode) {
        let conn = asked.conn().expect("only readers read");
        if self.users[&conn].gone {
            return;
        }
        if let Asked::Page { .. } = asked {
            self.current.closes.push((conn, CloseReason::Overloaded));
            self.coverage.note("a replay refused");
            return;
        }
        let (room, reference) = match self.user(conn).waiting.take() {
            Some(Waiting::Join { room, reference, .. } | Waiting::History { room, reference, .. }) => (room, reference),
            other => panic!("{other:?} reads nothing"),
        };
        self.coverage.note("a read refused");
        self.current.due.push(Due::Error { conn, code, room: None, or_room: Some(room), reference, id: None });
    }
}

impl Asked {
    pub fn room(&self) -> &RoomName {
        match self {
            Self::Load(room)
            | Self::Ids { room, .. }
            | Self::Line(Flight { room, .. })
            | Self::Probe { room, .. }
            | Self::Page { room, .. }
            | Self::History { room, .. } => room,
        }
    }

    /// Who waits for it, but for rooms.
    pub fn conn(&self) -> Option<ConnId> {
        match *self {
            Self::Load(_) | Self::Ids { .. } => None,
            Self::Line(Flight { conn, .. })
            | Self::Probe { conn, .. }
            | Self::Page { conn, .. }
            | Self::History { conn, .. } => Some(conn),
        }
    }
}

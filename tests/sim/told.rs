//! Whether what the core says is what it owes, to whom it owes it, and true.

use std::sync::Arc;

use chinwag::chat::message::ErrorReply;
use chinwag::chat::{ConnId, ErrorCode, Line, Message, Name, Notice, RoomName, UserId};

use crate::hold;
use crate::model::{Asked, Due, Model, Reference, Said, Verdict, Waiting};
use crate::reading::is_gone;
use crate::turn::{Begin, Step, Told};

impl Model {
    pub fn told(&mut self, step: &Step, told: &mut Told) -> Verdict {
        let mut readers = told.readers.clone();
        readers.sort_unstable();
        hold!(!readers.is_empty(), "something was told to nobody");
        hold!(readers.windows(2).all(|pair| pair[0] != pair[1]), "something was told twice to one reader");
        let is_welcome = matches!(told.message, Message::System(Notice::Welcome { .. }));
        for reader in &readers {
            let user = self.users.get(reader).filter(|user| !user.gone);
            let user = user.ok_or_else(|| format!("{reader:?} was told something after its end"))?;
            hold!(user.welcomed || is_welcome, "{reader:?} was told something before its welcome");
        }
        let conn = readers[0];
        let single = readers.len() == 1;
        match &told.message {
            Message::Line(line) => self.told_line(line, &readers),
            Message::UserJoin { room, user, name, online } => {
                self.told_move(room, *user, name, *online, true, &readers)
            }
            Message::UserLeave { room, user, name, online } => {
                self.told_move(room, *user, name, *online, false, &readers)
            }
            Message::Coming { room, joined, left, online } => {
                self.told_tally(step, room, (*joined, *left), *online, &readers)
            }
            Message::System(Notice::Renamed { from, to }) => {
                let before = self.current.rename_told.replace((from.clone(), to.clone(), readers));
                hold!(before.is_none(), "a rename was told twice");
                Ok(())
            }
            Message::System(Notice::Typing { name }) => self.told_typing(name, &readers),
            exact @ Message::Binary(_) => {
                self.pay(|due| matches!(due, Due::Exactly(to, message) if *to == readers && message == exact)).map(drop)
            }
            _ if !single => Err("an answer has one reader".into()),
            Message::Page(lines) => self.told_page(conn, lines),
            Message::System(Notice::Welcome { online }) => {
                told.begin = Some(self.told_welcome(conn, *online)?);
                Ok(())
            }
            Message::Joined(joined) => {
                told.begin = self.told_joined(conn, joined)?;
                Ok(())
            }
            Message::Left { room, reference } => {
                told.begin = Some(Begin { next: self.newest(room) + 1, or_later: false, live: true });
                self.told_left(conn, room, reference)
            }
            Message::Renamed { user, from, to, reference } => self.told_renamed(conn, *user, from, to, reference),
            Message::Presence { room, users, online, reference } => {
                self.told_presence(conn, room, users, *online, reference)
            }
            Message::History(history) => self.told_history(conn, history),
            Message::Error(error) => self.told_error(conn, error),
            Message::Private { .. } | Message::System(Notice::Private { .. }) | Message::Ack { .. } => {
                self.told_privately(conn, &told.message)
            }
            exact @ Message::Pong { .. } => self
                .pay(|due| matches!(due, Due::Exactly(to, message) if to[..] == [conn] && message == exact))
                .map(drop),
            Message::Welcome(_) | Message::Typing { .. } => Err("that is for `chinwag.v1` only".into()),
            Message::System(Notice::Shutdown { .. }) => Err("nobody shut anything down".into()),
        }
    }

    /// Finds what was due and crosses it off.
    fn pay(&mut self, is_it: impl Fn(&Due) -> bool) -> Result<Due, String> {
        match self.current.due.iter().position(is_it) {
            Some(place) => Ok(self.current.due.swap_remove(place)),
            None => Err(format!("that was not due, but {:?}", self.current.due)),
        }
    }

    fn told_line(&mut self, line: &Arc<Line>, readers: &[ConnId]) -> Verdict {
        let next = self.current.lines.pop_front().ok_or("a line that was not answered just now was told")?;
        hold!(*line == next, "told another line than was answered");
        let author = *self.ids.get(&line.draft.user).ok_or("a line of somebody who is gone")?;
        self.see_name(author, &line.draft.from)?;
        hold!(self.is_member(&line.room, author), "a line of somebody who left");
        match readers.iter().find(|reader| !self.is_member(&line.room, **reader)) {
            Some(reader) => Err(format!("{reader:?} is not in {}", line.room)),
            None => Ok(()),
        }
    }

    /// Lines of a replay are the room's, as they are.
    pub fn are_kept(&self, room: &RoomName, lines: &[Arc<Line>]) -> Verdict {
        for line in lines {
            hold!(line.room == *room, "a line of another room");
            hold!(self.line(room, line.seq) == Some(line), "line {} is not what was said", line.seq);
        }
        hold!(lines.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq), "a hole between lines");
        Ok(())
    }

    fn told_page(&mut self, conn: ConnId, lines: &[Arc<Line>]) -> Verdict {
        let room = match &self.current.fetched {
            Some((Asked::Page { conn: asked, room }, ..)) if *asked == conn => room.clone(),
            other => return Err(format!("a page that is not {other:?}")),
        };
        hold!(self.is_member(&room, conn), "{conn:?} is not in {room}");
        hold!(!lines.is_empty(), "an empty page");
        let bytes: usize = lines.iter().map(|line| line.draft.message.len()).sum();
        hold!(lines.len() == 1 || bytes <= self.limits.page_bytes_max, "a page of {bytes} bytes");
        self.coverage.note("a page");
        self.are_kept(&room, lines)
    }

    fn told_move(
        &mut self,
        room: &RoomName,
        user: UserId,
        name: &Name,
        online: u32,
        came: bool,
        readers: &[ConnId],
    ) -> Verdict {
        let conn = *self.ids.get(&user).ok_or("a move of somebody who is gone")?;
        let member = self.is_member(room, conn);
        let who = &self.users[&conn];
        if came && !member {
            let asked = match &who.waiting {
                Some(Waiting::Welcome { room, .. } | Waiting::Join { room, .. }) => Some(room),
                _ => None,
            };
            hold!(asked == Some(room), "{name} came to {room} and did not ask for it");
            self.enter(room, conn);
        } else if !came && member {
            let leaves = matches!(&who.waiting, Some(Waiting::Leave { room: asked, .. }) if asked == room);
            hold!(leaves || who.gone, "{name} left {room} and did not ask for it");
            hold!(who.outstanding == 0, "{name} left before its last line was answered");
            self.exit(room, conn);
        }
        self.see_name(conn, name)?;
        let others = self.others(room, conn);
        hold!(others == readers, "told {readers:?}, and the others are {others:?}");
        let count = self.rooms[room].members.len();
        hold!(online as usize == count, "{online} online, and {count} are there");
        self.coverage.note(if came { "user_join" } else { "user_leave" });
        let moved = self
            .current
            .moves
            .iter_mut()
            .rev()
            .find(|moved| moved.room == *room && moved.conn == conn && moved.came == came && !moved.told);
        moved.ok_or("a move that was not made")?.told = true;
        Ok(())
    }

    fn told_tally(
        &mut self,
        step: &Step,
        name: &RoomName,
        tally: (u32, u32),
        online: u32,
        readers: &[ConnId],
    ) -> Verdict {
        let now = step.now.mono_ms;
        let room = self.rooms.get_mut(name).ok_or("no such room")?;
        hold!(tally == room.tally && tally != (0, 0), "told {tally:?}, and it was {:?}", room.tally);
        hold!(room.tally_told.is_none_or(|last| last + 1_000 <= now), "told twice in a second");
        hold!(online as usize == room.members.len(), "{online} online, and {} are there", room.members.len());
        room.tally = (0, 0);
        room.tally_told = Some(now);
        let members: Vec<_> = room.members.iter().copied().filter(|conn| !self.users[conn].gone).collect();
        hold!(members == readers, "told {readers:?}, and the members are {members:?}");
        self.coverage.note("many came and went");
        Ok(())
    }

    fn told_typing(&mut self, name: &Name, readers: &[ConnId]) -> Verdict {
        match self.pay(|due| matches!(due, Due::Typing { readers: to, .. } if to == readers))? {
            Due::Typing { of, .. } => self.see_name(of, name),
            due => panic!("{due:?} was looked for"),
        }
    }

    fn told_left(&mut self, conn: ConnId, room: &RoomName, reference: &Reference) -> Verdict {
        let user = self.user(conn);
        match user.waiting.take() {
            Some(Waiting::Leave { room: asked, reference: mark }) if asked == *room && mark == *reference => {}
            other => return Err(format!("left, and it waits for {other:?}")),
        }
        hold!(user.outstanding == 0, "left before the last line was answered");
        if self.is_member(room, conn) {
            self.exit(room, conn);
        }
        Ok(())
    }

    fn told_renamed(&mut self, conn: ConnId, user: UserId, from: &Name, to: &Name, reference: &Reference) -> Verdict {
        self.see_name(conn, from)?;
        let who = self.user(conn);
        hold!(who.id == user, "another user");
        match who.waiting.take() {
            Some(Waiting::Rename { to: asked, reference: mark }) if asked == *to && mark == *reference => {}
            other => return Err(format!("renamed, and it waits for {other:?}")),
        }
        hold!(who.outstanding == 0, "renamed before the last line was answered");
        who.name = Some(to.clone());
        let rooms = who.rooms.clone();
        self.names.remove(&from.key());
        let other = self.names.insert(to.key(), conn);
        hold!(other.is_none(), "{to} is {other:?}");
        let small = rooms.iter().filter(|room| self.rooms[*room].members.len() <= self.limits.members_told_max);
        let mut others: Vec<_> = small.flat_map(|room| self.others(room, conn)).collect();
        others.sort_unstable();
        others.dedup();
        self.current.renamed = Some((from.clone(), to.clone(), others));
        self.coverage.note("renamed");
        Ok(())
    }

    fn told_presence(
        &mut self,
        conn: ConnId,
        room: &RoomName,
        users: &[(UserId, Name)],
        online: u32,
        reference: &Reference,
    ) -> Verdict {
        self.pay(|due| matches!(due, Due::Presence { conn: to, room: asked, reference: mark } if *to == conn && asked == room && mark == reference))?;
        let members = self.rooms[room].members.clone();
        hold!(online as usize == members.len(), "{online} online, and {} are there", members.len());
        hold!(users.len() == members.len().min(1_000), "{} of {} are listed", users.len(), members.len());
        let mut listed = std::collections::HashSet::new();
        for (user, name) in users {
            let conn = *self.ids.get(user).ok_or("somebody is listed who is gone")?;
            hold!(members.contains(&conn) && listed.insert(conn), "{name} is listed twice, or is not there");
            self.see_name(conn, name)?;
        }
        self.coverage.note("presence");
        Ok(())
    }

    fn told_error(&mut self, conn: ConnId, error: &ErrorReply) -> Verdict {
        if self.pay(|due| Self::is_due_error(due, conn, error)).is_ok() {
            return Ok(());
        }
        match (self.users[&conn].waiting.clone(), error.code) {
            // Somebody else took the name meanwhile.
            (Some(Waiting::Rename { to, reference }), ErrorCode::NameTaken) => {
                let taken = self.names.get(&to.key()).is_some_and(|holder| *holder != conn);
                hold!(taken || self.may_be_a_guests(&to), "{to} is not taken");
                hold!(reference == error.reference, "another ref");
                self.coverage.note("a name that was taken meanwhile");
            }
            (Some(Waiting::History { .. }), ErrorCode::HistoryGone) => {
                let (room, span, _, told_then) = self.history_asked(conn, &error.reference)?;
                // It was read at some time between the asking and now.
                let is_gone = |newest| Ok::<_, String>(is_gone(span, self.history_oldest()?, newest));
                hold!(is_gone(told_then)? || is_gone(self.newest(&room))?, "what was asked for is kept");
                hold!(error.room.as_deref() == Some(&*room), "another room");
                self.coverage.note("history_gone");
            }
            _ if self.current.either == Some(conn) => {}
            (waiting, _) => return Err(format!("an error that is not due; it waits for {waiting:?}")),
        }
        self.user(conn).waiting = None;
        Ok(())
    }

    /// Private messages and acknowledgements.
    fn told_privately(&mut self, conn: ConnId, message: &Message) -> Verdict {
        let either = self.current.either;
        match message {
            Message::Ack { id, room: None, duplicate, .. } if either == Some(conn) => {
                self.user(conn).waiting = None;
                if !duplicate {
                    let user = self.user(conn);
                    user.private_count += 1;
                    let (user, count) = (user.id, user.private_count);
                    self.said.insert((user, None, id.to_string()), Said::Private { count });
                    self.ids_stored += 1;
                }
                Ok(())
            }
            Message::Private { .. } | Message::System(Notice::Private { .. }) if either.is_some() => Ok(()),
            Message::System(Notice::Private { from, message }) => {
                let due = self.pay(|due| matches!(due, Due::Private { target, message: text, .. } if *target == conn && text == message))?;
                let Due::Private { from: sender, .. } = due else { panic!("{due:?} was looked for") };
                self.see_name(sender, from)
            }
            Message::Private { user, from, to, message, id } => {
                let due = self.pay(|due| matches!(due, Due::Copy { conn: sender, message: text, id: mark, .. } if *sender == conn && text == message && mark == id))?;
                let Due::Copy { target, .. } = due else { panic!("{due:?} was looked for") };
                hold!(self.users[&conn].id == *user, "somebody else's");
                self.see_name(conn, from)?;
                self.see_name(target, to)
            }
            exact => self
                .pay(|due| matches!(due, Due::Exactly(to, message) if to[..] == [conn] && message == exact))
                .map(drop),
        }
    }
}

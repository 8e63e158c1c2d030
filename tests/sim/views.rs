//! What each reader sees, frame by frame, in the order in which an engine hands the frames over. It must make sense to
//! somebody who sees nothing else: no line missing, none twice, none out of order, nobody speaking who is not there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chinwag::chat::{ConnId, Line, Message, Name, Notice, RoomName, UserId};

use crate::hold;
use crate::model::{Model, Verdict};
use crate::turn::{Begin, Told, brief};

/// All readers that are there.
#[derive(Debug)]
pub struct Views {
    views: BTreeMap<ConnId, View>,
    members_told_max: usize,
}

#[derive(Debug)]
struct View {
    /// The room of its path.
    home: RoomName,
    welcomed: bool,
    rooms: BTreeMap<RoomName, RoomView>,
    /// Where it was in rooms that it left, if it was live there.
    left: HashMap<RoomName, u64>,
}

#[derive(Debug)]
struct RoomView {
    begin: Begin,
    /// Has had all that was said, and so must get each line in the turn in which it is answered.
    live: bool,
    /// Was large at some time: then who is there is not told one by one, and not known.
    crowded: bool,
    names: HashMap<UserId, Name>,
    gone: HashSet<UserId>,
    /// Names that somebody gave up and nobody took.
    given_up: HashSet<Name>,
}

impl Views {
    pub fn new(members_told_max: usize) -> Self {
        Self { views: BTreeMap::new(), members_told_max }
    }

    pub fn open(&mut self, conn: ConnId, home: RoomName) {
        let view = View { home, welcomed: false, rooms: BTreeMap::new(), left: HashMap::new() };
        self.views.insert(conn, view);
    }

    pub fn close(&mut self, conn: ConnId) {
        self.views.remove(&conn);
    }

    /// Hands a message to its readers.
    pub fn deliver(&mut self, told: &Told, model: &Model) -> Verdict {
        for conn in &told.readers {
            // The engine drops what is for a connection that is ending.
            let Some(view) = self.views.get_mut(conn) else { continue };
            view.take(told, model, self.members_told_max)
                .map_err(|what| format!("{what}\n  as {conn:?} sees it, told {}", brief(&told.message)))?;
        }
        Ok(())
    }

    /// Whoever is live has all that was said by the end of a turn.
    pub fn end_turn(&mut self, model: &Model) -> Verdict {
        for (conn, view) in &mut self.views {
            for (room, here) in &mut view.rooms {
                let end = model.newest(room) + 1;
                hold!(!here.live || here.begin.next == end, "{conn:?} was not told line {} of {room}", here.begin.next);
                here.live = here.begin.next == end;
            }
        }
        Ok(())
    }

    /// Who has not had all that was said in a room.
    pub fn behind(&self) -> impl Iterator<Item = (ConnId, &RoomName)> {
        let behind = |here: &RoomView| !here.live && !here.begin.or_later;
        let rooms = self.views.iter().flat_map(|(conn, view)| view.rooms.iter().map(|room| (*conn, room)));
        rooms.filter(move |(_, (_, here))| behind(here)).map(|(conn, (room, _))| (conn, room))
    }

    /// When nothing is under way, all are live.
    pub fn judge_rest(&self, model: &Model) -> Verdict {
        for (conn, view) in &self.views {
            hold!(view.welcomed, "{conn:?} never had its welcome");
            for (room, here) in &view.rooms {
                // Of its last lines none may be kept any more.
                let nothing_left = here.begin.or_later && model.rooms[room].oldest > model.newest(room);
                hold!(here.live || nothing_left, "{conn:?} does not get line {} of {room}", here.begin.next);
            }
        }
        Ok(())
    }
}

impl View {
    fn take(&mut self, told: &Told, model: &Model, members_told_max: usize) -> Verdict {
        let welcome = matches!(told.message, Message::System(Notice::Welcome { .. }));
        hold!(self.welcomed != welcome, "the welcome comes first and once");
        match &told.message {
            Message::System(Notice::Welcome { online }) => {
                self.welcomed = true;
                let begin = told.begin.ok_or("the model judged no welcome")?;
                let home = self.home.clone();
                self.enter(&home, begin, *online, members_told_max);
            }
            Message::Joined(joined) => {
                let Some(begin) = told.begin else { return self.room(&joined.room).map(drop) };
                if let Some(here) = self.rooms.get_mut(&joined.room) {
                    let Some((from, _)) = trimmed(&told.message) else { return Err("a second joined".into()) };
                    let next = here.begin.next;
                    hold!(next == from || (here.begin.or_later && next < from), "lost from {from}, and {next} is next");
                    here.begin = begin;
                } else {
                    self.enter(&joined.room, begin, joined.online, members_told_max);
                }
            }
            Message::Left { room, .. } => {
                let here = self.rooms.remove(room).ok_or("left a room that it is not in")?;
                if here.live {
                    let end = told.begin.ok_or("the model judged nobody's leaving")?.next;
                    hold!(here.begin.next == end, "left without line {}", here.begin.next);
                    self.left.insert(room.clone(), here.begin.next);
                }
            }
            Message::Line(line) => {
                let here = self.room(&line.room)?;
                here.line(line, model)?;
                here.speaker(line)?;
            }
            Message::Page(lines) => {
                let here = self.room(&lines[0].room)?;
                for line in lines {
                    here.line(line, model)?;
                }
            }
            Message::Ack { room: Some(room), seq: Some(seq), duplicate: false, .. } => {
                let next = match self.rooms.get(room) {
                    Some(here) => here.live.then_some(here.begin.next),
                    None => self.left.get(room).copied(),
                };
                hold!(next.is_none_or(|next| next > *seq), "acknowledged line {seq} before it was told");
            }
            Message::UserJoin { .. } | Message::UserLeave { .. } | Message::Coming { .. } => {
                self.moved(&told.message, members_told_max)?;
            }
            Message::Presence { room, users, .. } => {
                let here = self.room(room)?;
                for (user, name) in users {
                    here.knows(*user, name)?;
                }
            }
            Message::History(history) => drop(self.room(&history.room)?),
            Message::Renamed { from, to, .. } | Message::System(Notice::Renamed { from, to }) => self.renamed(from, to),
            _ => {}
        }
        Ok(())
    }

    fn room(&mut self, room: &RoomName) -> Result<&mut RoomView, String> {
        self.rooms.get_mut(room).ok_or_else(|| format!("it is not in {room}"))
    }

    fn enter(&mut self, room: &RoomName, begin: Begin, online: u32, members_told_max: usize) {
        let crowded = online as usize >= members_told_max;
        let here = RoomView {
            begin,
            live: begin.live,
            crowded,
            names: HashMap::new(),
            gone: HashSet::new(),
            given_up: HashSet::new(),
        };
        self.left.remove(room);
        self.rooms.insert(room.clone(), here);
    }

    fn moved(&mut self, message: &Message, members_told_max: usize) -> Verdict {
        let (room, online) = match message {
            Message::UserJoin { room, online, .. }
            | Message::UserLeave { room, online, .. }
            | Message::Coming { room, online, .. } => (room, *online),
            other => panic!("{other:?} is no move"),
        };
        let here = self.room(room)?;
        if online as usize >= members_told_max || matches!(message, Message::Coming { .. }) {
            here.crowded = true;
            here.names.clear();
            here.gone.clear();
            here.given_up.clear();
        }
        match message {
            Message::UserJoin { user, name, .. } => {
                hold!(here.crowded || !here.names.contains_key(user), "{name} came twice");
                here.gone.remove(user);
                here.given_up.remove(name);
                here.knows(*user, name)
            }
            Message::UserLeave { user, name, .. } => {
                here.knows(*user, name)?;
                here.names.remove(user);
                hold!(here.crowded || here.gone.insert(*user), "{name} went twice");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn renamed(&mut self, from: &Name, to: &Name) {
        for here in self.rooms.values_mut() {
            for name in here.names.values_mut().filter(|name| *name == from) {
                *name = to.clone();
            }
            if !here.crowded {
                here.given_up.insert(from.clone());
                here.given_up.remove(to);
            }
        }
    }
}

impl RoomView {
    fn line(&mut self, line: &Line, model: &Model) -> Verdict {
        let next = self.begin.next;
        // Those before it must be gone from the store.
        let later = self.begin.or_later && line.seq > next && line.seq <= model.rooms[&line.room].oldest;
        hold!(line.seq == next || later, "line {} came, and {next} is next", line.seq);
        self.begin = Begin { next: line.seq + 1, or_later: false, live: self.live };
        Ok(())
    }

    /// A line that comes as it is said is by somebody who is there, under the name that is known.
    fn speaker(&mut self, line: &Arc<Line>) -> Verdict {
        hold!(!self.gone.contains(&line.draft.user), "{} speaks and is gone", line.draft.from);
        hold!(!self.given_up.contains(&line.draft.from), "{} speaks and is called otherwise now", line.draft.from);
        self.knows(line.draft.user, &line.draft.from)
    }

    fn knows(&mut self, user: UserId, name: &Name) -> Verdict {
        if self.crowded {
            return Ok(());
        }
        match self.names.get(&user) {
            Some(known) => hold!(known == name, "{known} is called {name}"),
            None => drop(self.names.insert(user, name.clone())),
        }
        Ok(())
    }
}

fn trimmed(message: &Message) -> Option<(u64, u64)> {
    use chinwag::chat::message::Recovery;
    match message {
        Message::Joined(joined) => match joined.recovery {
            Recovery::Trimmed { from, to } => Some((from, to)),
            _ => None,
        },
        _ => None,
    }
}

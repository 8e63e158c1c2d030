//! The judge is judged: ways in which a server may be broken, done to what passes between the core, the store and the
//! network. Each must be found.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chinwag::chat::command::From;
use chinwag::chat::message::Recovery;
use chinwag::chat::{
    Ask, Class, Command, Completion, ConnId, Delivery, Effects, ErrorCode, Line, Message, Name, Request, RoomKey,
    RoomName, Ticket, UserId,
};

use crate::truth::Truth;

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A way to be broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $($(#[$doc])* $name,)*
        }

        impl Mutation {
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

mutations! {
    /// A replay leaves its last line out.
    ReplayWithoutLast,
    /// The lines of a page are handed over backwards.
    PageBackwards,
    /// Live lines also go to readers who still catch up.
    LiveBeforeReplay,
    /// A reader who has caught up misses the next line: it becomes live one line late.
    LiveOneLate,
    /// A position is taken for the newest: `recovered:true`, and nothing is replayed.
    PositionForgotten,
    /// A line is acknowledged and not stored.
    AckedAndLost,
    /// A retry is stored as a line of its own.
    RetryUnknown,
    /// The earlier connection gets lines after the take-over.
    EarlierStillTold,
    /// A session is not looked at: whoever comes back is somebody new.
    SessionIgnored,
    /// Whoever loses the connection is gone at once.
    NoGrace,
    /// The others are told of a leave as soon as a connection breaks.
    LeaveAtCut,
    /// After a restart a room has its earlier epoch.
    EpochKept,
    /// What was trimmed before a join is not told.
    TrimmedUntold,
    /// What is trimmed during a replay is not told.
    OvertakenUntold,
    /// A private message reaches its writer only.
    PrivateOneSided,
    /// One reader of several does not get a line.
    LineLostForOne,
    /// One reader of several gets a line twice.
    LineTwiceForOne,
    /// `resumed` says the contrary.
    ResumedWrong,
    /// Something comes before the `welcome`.
    BeforeWelcome,
    /// An acknowledgement is never handed over.
    AckLost,
    /// An acknowledgement comes before its line.
    AckBeforeLine,
    /// Nobody goes on with a replay when the outbox has room.
    DrainUnheard,
    /// The core does not hear that a connection ended.
    EndUnheard,
    /// A join of somebody who was there all the time is told.
    JoinToldAgain,
    /// A line is told in another room's name, to the readers of that.
    LineInAnotherRoom,
    /// A private message is stored twice with its writer, and not with the one that it goes to.
    RowAstray,
    /// After the end of the log was lost, nobody's place is good any more.
    FormerIgnored,
    /// After the end of the log was lost, every place is good.
    FormerEndless,
    /// What the store has from before a start is not asked for.
    RecallSkipped,
    /// Of what the store has from before a start, it is asked for the first page only.
    RecallFirstPageOnly,
    /// Of what the store has from before a start, the last `id` is overlooked.
    RecallWithoutLast,
    /// That the store cannot say what it has is taken for that it has nothing.
    RecallRefusalIgnored,
}

/// Does one thing wrong, whenever it can.
#[derive(Debug)]
pub struct Saboteur {
    pub mutation: Mutation,
    dice: fastrand::Rng,
    /// Readers who catch up.
    behind: HashSet<(ConnId, RoomName)>,
    /// Readers who have just become live.
    fresh: HashSet<(ConnId, RoomName)>,
    /// Ids of lines that were heard or lost.
    ids: HashSet<String>,
    /// The room of each line that was lost.
    lost: HashMap<String, RoomName>,
    rooms: HashMap<RoomKey, RoomName>,
    epochs: HashMap<RoomName, Arc<str>>,
    earlier_epochs: HashMap<RoomName, Arc<str>>,
    replaced: HashMap<UserId, ConnId>,
    /// What the store was asked to tell again, up to a `seq`.
    recalls: HashMap<Ticket, u64>,
    users: HashMap<ConnId, (UserId, Name)>,
    /// Whom a room's members were told by.
    members: Vec<(ConnId, RoomName)>,
}

impl Saboteur {
    pub fn new(mutation: Mutation, seed: u64) -> Self {
        Self {
            mutation,
            dice: fastrand::Rng::with_seed(seed ^ 0xbad),
            behind: HashSet::new(),
            fresh: HashSet::new(),
            ids: HashSet::new(),
            lost: HashMap::new(),
            rooms: HashMap::new(),
            epochs: HashMap::new(),
            earlier_epochs: HashMap::new(),
            replaced: HashMap::new(),
            recalls: HashMap::new(),
            users: HashMap::new(),
            members: Vec::new(),
        }
    }

    pub fn restarted(&mut self) {
        self.earlier_epochs.extend(self.epochs.drain());
        self.rooms.clear();
        self.behind.clear();
        self.fresh.clear();
        self.users.clear();
        self.members.clear();
        self.replaced.clear();
        self.recalls.clear();
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }

    /// Done with one chance in so many.
    fn one_in(&mut self, count: u32) -> bool {
        self.dice.u32(0..count) == 0
    }

    pub fn spoil_command(&mut self, command: &mut Command<'static>, truth: &Truth) {
        match (&mut command.ask, self.mutation) {
            (Ask::Hello(hello), Mutation::SessionIgnored) if self.one_in(2) => {
                hello.session = None;
            }
            (Ask::Hello(hello), Mutation::PositionForgotten) => {
                for entry in hello.rooms.iter_mut().flatten() {
                    let newest = RoomName::parse(&entry.room).map_or(0, |room| truth.newest(&room));
                    if let From::Position { seq, time_ms, .. } = &mut entry.from
                        && *seq < newest
                    {
                        (*seq, *time_ms) = (newest, None);
                    }
                }
            }
            (Ask::Chat { id: Some(id), .. }, Mutation::RetryUnknown) if !self.ids.insert(id.to_string()) => {
                *id = format!("{id}'").into();
            }
            _ => {}
        }
    }

    pub fn hides_drained(&mut self) -> bool {
        self.is(Mutation::DrainUnheard) && self.one_in(4)
    }

    /// Whether the core does not hear of an end; or it may hear that it is for good.
    pub fn hides_closed(&mut self, for_good: &mut bool) -> bool {
        if self.is(Mutation::NoGrace) && !*for_good {
            *for_good = true;
        }
        self.is(Mutation::EndUnheard) && self.one_in(3)
    }

    /// What the store answers in the end, if it does not get the request.
    pub fn spoil_request(&mut self, request: &mut Request) -> Option<Completion> {
        match request {
            Request::Load { room, name, .. } => drop(self.rooms.insert(*room, name.clone())),
            Request::Append { ticket, rows }
                if self.is(Mutation::AckedAndLost) && rows[0].draft.id.is_some() && self.one_in(10) =>
            {
                let id = rows[0].draft.id.as_ref().expect("it was just there").to_string();
                self.lost.insert(id, self.rooms[&rows[0].room].clone());
                return Some(Completion::Refused { ticket: *ticket, code: ErrorCode::Overloaded });
            }
            Request::Append { rows, .. } if self.is(Mutation::RowAstray) && rows.len() == 2 && self.one_in(2) => {
                rows[1].room = rows[0].room;
            }
            Request::Recall { ticket, seqs: (_, last), .. } => {
                if self.is(Mutation::RecallSkipped) {
                    return Some(Completion::Recalled { ticket: *ticket, ids: Vec::new(), through: *last });
                }
                self.recalls.insert(*ticket, *last);
            }
            _ => {}
        }
        None
    }

    pub fn spoil_completion(&mut self, completion: &mut Completion) {
        match completion {
            Completion::Loaded { room, epoch, former, .. } => {
                let Some(name) = self.rooms.get(room).cloned() else { return };
                if self.is(Mutation::EpochKept)
                    && let Some(earlier) = self.earlier_epochs.get(&name)
                {
                    *epoch = earlier.clone();
                }
                if self.is(Mutation::FormerIgnored) {
                    *former = None;
                }
                if let Some((_, top)) = former.as_mut().filter(|_| self.is(Mutation::FormerEndless)) {
                    *top = u64::MAX;
                }
                self.epochs.insert(name, epoch.clone());
            }
            Completion::Recalled { ticket, ids, through } => match (self.mutation, self.recalls.remove(ticket)) {
                (Mutation::RecallFirstPageOnly, Some(last)) => *through = last,
                (Mutation::RecallWithoutLast, Some(_)) => drop(ids.pop()),
                _ => {}
            },
            Completion::Refused { ticket, .. } if self.is(Mutation::RecallRefusalIgnored) => {
                if let Some(last) = self.recalls.remove(ticket) {
                    *completion = Completion::Recalled { ticket: *ticket, ids: Vec::new(), through: last };
                }
            }
            _ => {}
        }
    }

    /// Spoils what the core has just said.
    pub fn spoil(&mut self, effects: &mut Effects, first: usize, truth: &Truth) {
        self.watch(effects, first);
        let resumed = |delivery: &Delivery| match &delivery.message {
            Message::Joined(joined) if joined.recovery == Recovery::Recovered => {
                Some((effects.readers[delivery.to.start as usize], joined.room.clone()))
            }
            _ => None,
        };
        let resumed: Vec<_> = effects.deliveries[first..].iter().filter_map(resumed).collect();
        if self.is(Mutation::JoinToldAgain) {
            for (conn, room) in resumed {
                self.tell_moves(conn, &[(conn, room)], true, effects);
            }
        }
        if self.is(Mutation::AckBeforeLine) {
            acknowledge_early(effects, first);
        }
        let mut place = first;
        while place < effects.deliveries.len() {
            let mut delivery = effects.deliveries[place].clone();
            let mut readers = effects.readers[delivery.to.start as usize..delivery.to.end as usize].to_vec();
            let before = readers.len();
            let kept = self.spoil_one(&mut delivery, &mut readers, effects, place, truth);
            if readers.len() != before {
                delivery.to = effects.note_readers(readers);
            }
            if kept && !delivery.to.is_empty() {
                effects.deliveries[place] = delivery;
                place += 1;
            } else {
                effects.deliveries.remove(place);
            }
            if self.is(Mutation::LineTwiceForOne) || self.is(Mutation::BeforeWelcome) {
                place = self.add(effects, place, first);
            }
        }
    }

    /// Whether the delivery is made at all.
    fn spoil_one(
        &mut self,
        delivery: &mut Delivery,
        readers: &mut Vec<ConnId>,
        effects: &Effects,
        place: usize,
        truth: &Truth,
    ) -> bool {
        use Mutation as M;
        match (&mut delivery.message, self.mutation) {
            (Message::Page(lines), M::ReplayWithoutLast) if self.one_in(2) => {
                lines.pop();
                return !lines.is_empty();
            }
            (Message::Page(lines), M::PageBackwards) if lines.len() > 1 => lines.reverse(),
            (Message::Line(line), M::LiveBeforeReplay) => {
                let behind = self.behind.iter().filter(|(conn, room)| *room == line.room && !readers.contains(conn));
                let mut more: Vec<_> = behind.map(|(conn, _)| *conn).collect();
                more.sort_unstable();
                readers.extend(more);
            }
            (Message::Line(line), M::LiveOneLate) => {
                let room = line.room.clone();
                readers.retain(|conn| !self.fresh.remove(&(*conn, room.clone())));
            }
            (Message::Error(error), M::AckedAndLost) => {
                if let Some(id) = &error.id
                    && let Some(room) = self.lost.remove(&**id)
                {
                    let seq = Some(truth.newest(&room).max(1));
                    delivery.message =
                        Message::Ack { id: Arc::from(&**id), room: Some(room), seq, duplicate: false, reference: None };
                    delivery.class = Class::Ack;
                }
            }
            (Message::Line(_), M::EarlierStillTold) => {
                let earlier = readers.iter().filter_map(|conn| self.replaced.get(&self.users.get(conn)?.0)).copied();
                let earlier: Vec<_> = earlier.filter(|conn| !readers.contains(conn)).collect();
                readers.extend(earlier);
            }
            (Message::Joined(joined), M::TrimmedUntold) if matches!(joined.recovery, Recovery::Trimmed { .. }) => {
                joined.recovery = Recovery::Recovered;
            }
            (Message::Joined(joined), M::OvertakenUntold) => {
                // One that comes with its page was not asked for.
                let overtaken = matches!(joined.recovery, Recovery::Trimmed { .. })
                    && joined.reference.is_none()
                    && matches!(effects.deliveries.get(place + 1).map(|next| &next.message), Some(Message::Page(_)));
                return !overtaken;
            }
            (Message::Line(line), M::PrivateOneSided) if line.room.is_stream() => {
                return line.room == RoomName::stream(line.draft.user);
            }
            (Message::Line(_), M::LineLostForOne) if readers.len() > 1 && self.one_in(20) => drop(readers.pop()),
            (Message::Welcome(welcome), M::ResumedWrong) => welcome.resumed = !welcome.resumed,
            (Message::Ack { .. }, M::AckLost) => return !self.one_in(10),
            (Message::Line(line), M::LineInAnotherRoom) if !line.room.is_stream() && self.one_in(50) => {
                let lobby = RoomName::lobby();
                if line.room != lobby {
                    let other = Line { room: lobby, ..(**line).clone() };
                    *line = Arc::new(other);
                }
            }
            _ => {}
        }
        true
    }

    /// A connection ended: tells the others of its rooms that its user left.
    pub fn ended(&mut self, conn: ConnId, for_good: bool, effects: &mut Effects) {
        self.behind.retain(|(other, _)| *other != conn);
        let (gone, rest) = std::mem::take(&mut self.members).into_iter().partition(|(other, _)| *other == conn);
        self.members = rest;
        if self.is(Mutation::LeaveAtCut) && !for_good {
            self.tell_moves(conn, &gone, false, effects);
        }
    }

    fn tell_moves(&mut self, conn: ConnId, rooms: &[(ConnId, RoomName)], came: bool, effects: &mut Effects) {
        let Some((user, name)) = self.users.get(&conn).cloned() else { return };
        for (_, room) in rooms.iter().filter(|(_, room)| !room.is_stream()) {
            let others = self.members.iter().filter(|(other, there)| *other != conn && there == room);
            let others: Vec<_> = others.map(|(other, _)| *other).collect();
            let (room, user, name, online) = (room.clone(), user, name.clone(), others.len() as u32 + 1);
            let to = effects.note_readers(others);
            let message = if came {
                Message::UserJoin { room, user, name, online }
            } else {
                Message::UserLeave { room, user, name, online }
            };
            effects.deliver(to, message, Class::Room);
        }
    }

    /// Adds what should not be there.
    fn add(&mut self, effects: &mut Effects, place: usize, first: usize) -> usize {
        let Some(delivery) = effects.deliveries.get(place.wrapping_sub(1)).cloned() else { return place };
        match &delivery.message {
            Message::Line(_) if self.is(Mutation::LineTwiceForOne) && self.one_in(20) => {
                let reader = effects.readers[delivery.to.start as usize];
                let to = effects.note_readers([reader]);
                effects.deliveries.insert(place, Delivery { to, ..delivery });
                place + 1
            }
            Message::Joined(_)
                if self.is(Mutation::BeforeWelcome)
                    && place > first + 1
                    && matches!(effects.deliveries[place - 2].message, Message::Welcome(_)) =>
            {
                effects.deliveries.swap(place - 1, place - 2);
                place
            }
            _ => place,
        }
    }

    /// Takes note of who is where.
    fn watch(&mut self, effects: &mut Effects, first: usize) {
        for place in first..effects.deliveries.len() {
            let delivery = &effects.deliveries[place];
            let conn = effects.readers[delivery.to.start as usize];
            match &delivery.message {
                Message::Welcome(welcome) => {
                    let earlier = self.users.iter().find(|(_, (user, _))| *user == welcome.user).map(|(conn, _)| *conn);
                    if let Some(earlier) = earlier {
                        self.users.remove(&earlier);
                        self.replaced.insert(welcome.user, earlier);
                    }
                    self.users.insert(conn, (welcome.user, welcome.name.clone()));
                }
                Message::Joined(joined) => {
                    self.behind.insert((conn, joined.room.clone()));
                    self.members.push((conn, joined.room.clone()));
                    if joined.recovery == Recovery::Recovered {
                        self.fresh.insert((conn, joined.room.clone()));
                    }
                }
                Message::Left { room, .. } => {
                    self.behind.remove(&(conn, room.clone()));
                    self.members.retain(|member| *member != (conn, room.clone()));
                }
                Message::Line(line) => {
                    for reader in &effects.readers[delivery.to.start as usize..delivery.to.end as usize] {
                        self.behind.remove(&(*reader, line.room.clone()));
                    }
                }
                _ => {}
            }
        }
        for (conn, _) in &effects.closes {
            self.members.retain(|(other, _)| other != conn);
            self.behind.retain(|(other, _)| other != conn);
        }
    }
}

/// Moves acknowledgements before the lines that they follow.
fn acknowledge_early(effects: &mut Effects, first: usize) {
    let deliveries = &mut effects.deliveries;
    for place in first + 1..deliveries.len() {
        if matches!(deliveries[place].message, Message::Ack { duplicate: false, .. })
            && matches!(deliveries[place - 1].message, Message::Line(_))
        {
            deliveries[place].class = Class::Reply;
            deliveries.swap(place - 1, place);
        }
    }
}

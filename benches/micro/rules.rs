//! The core: a line that is heard, stored in memory and handed to its room's readers.

use std::borrow::Cow;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

use chinwag::chat::{Ask, Chat, Command, Completion, ConnId, Effects, Event, Limits, Now, RoomName};
use chinwag::store::{Memory, MemoryLimits};

use crate::spelling::{WALL_MS, words};

/// Connections that come in one turn, as many as the engine accepts.
const ACCEPTS_MAX: usize = 128;

/// The core and its store, with people in rooms.
pub(crate) struct House {
    chat: Chat,
    store: Memory,
    effects: Effects,
    completions: Vec<Completion>,
    now: Now,
    words: String,
}

impl House {
    /// As many plain connections, spread over `rooms` in turn.
    pub(crate) fn new(connections: usize, rooms: usize) -> Self {
        let limits = MemoryLimits { rooms_max: rooms, ..MemoryLimits::default() };
        let mut house = Self {
            chat: Chat::new(Limits::default(), [7; 32]),
            store: Memory::new(limits, 7),
            effects: Effects::default(),
            completions: Vec::new(),
            now: Now { mono_ms: 0, wall_ms: WALL_MS },
            words: words(100),
        };
        let mut random = fastrand::Rng::with_seed(7);
        for index in 0..connections {
            let room = RoomName::parse(&format!("room-{}", index % rooms)).expect("a room's name");
            let event = Event::Opened { conn: conn(index), room, name: None, secret: random.u128(..).to_le_bytes() };
            house.chat.handle(house.now, event, &mut house.effects);
            if index % ACCEPTS_MAX == 0 {
                house.end_turn();
            }
        }
        house.end_turn();
        // What was held back of a large room's joins is told.
        house.now.mono_ms += 1_000;
        house.chat.handle(house.now, Event::Tick, &mut house.effects);
        house.end_turn();
        house
    }

    /// A line of 100 bytes comes from a connection and is handed to its room; returns how many get it.
    pub(crate) fn say(&mut self, index: usize) -> usize {
        let ask = Ask::Chat { room: None, message: Cow::Borrowed(black_box(&self.words)), id: None };
        let command = Command { ask, reference: None };
        self.chat.handle(self.now, Event::Heard { conn: conn(index), command }, &mut self.effects);
        self.end_turn()
    }

    /// What the engine does with effects, but for the frames; returns how many readers they had.
    fn end_turn(&mut self) -> usize {
        while !self.effects.requests.is_empty() {
            for request in self.effects.requests.drain(..) {
                self.store.submit(request);
            }
            self.store.collect(&mut self.completions);
            for completion in self.completions.drain(..) {
                self.chat.handle(self.now, Event::Completed(completion), &mut self.effects);
            }
        }
        let readers = black_box(&self.effects.deliveries).iter().map(|delivery| delivery.to.len()).sum();
        self.effects.clear();
        readers
    }
}

fn conn(index: usize) -> ConnId {
    ConnId { index: index as u32, generation: index as u32 }
}

#[divan::bench(sample_size = 64, args = [2, 1_000])]
fn core_line(bencher: Bencher<'_, '_>, members: usize) {
    let mut house = House::new(members, 1);
    bencher.counter(ItemsCount::new(members)).bench_local(move || assert_eq!(house.say(1), members));
}

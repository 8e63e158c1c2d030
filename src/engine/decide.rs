//! What the turn's events come to: the store and the core settle what is to be told, and each message is encoded once
//! and shared out.

use std::time::Duration;

use crate::chat::effects::{Class, CloseReason, Delivery};
use crate::chat::ids::{ConnId, Millis};
use crate::chat::{Effects, Event, slack};

use super::Server;
use super::closing::After;
use super::connection::End;
use super::flush::DRAINED_BYTES;

/// A reader with so much left over gets nothing that may be dropped.
const LAG_BYTES: usize = 32 * 1024;

/// How often the store is asked in one turn. Memory answers at once, and no chain of questions is half as long; a disk may have
/// another answer each time, and those who wait for none of it shall not wait.
const CONSULTATIONS_MAX: usize = 8;

/// A turn begins to take more answers of a store on a disk for so long at most: those who want something else shall not wait for all
/// that a commit has stored. Where lines lie in many rooms, an answer costs up to 3 µs; where they lie in one, half
/// a microsecond, and the turn takes all.
const COLLECTING_MAX: Duration = Duration::from_micros(200);

/// Looking whether so many are still held may come once a millisecond: it takes a twentieth of that.
const HELD_PER_MS: Millis = 1_000;

/// Lists that are used again each turn.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The deliveries' numbers, in the order in which they are shared out.
    order: Vec<(u32, u32, u32)>,
    /// For each range of readers, by its start: the first delivery to it.
    first: Vec<u32>,
}

impl Server {
    pub(super) fn decide(&mut self) {
        self.consult_store();
        self.share_out();
        for (id, reason) in std::mem::take(&mut self.effects.closes) {
            if reason == CloseReason::Replaced
                && let Some(connection) = self.connections.find(id)
            {
                // The other connection gets it, from where the client says.
                connection.outbox.cut(&mut self.turn);
            }
            self.close(id, End::Close(reason), After::Nothing);
        }
        for id in std::mem::take(&mut self.effects.watches) {
            let Some(connection) = self.connections.find(id) else { continue };
            connection.flags.watched = true;
            if connection.outbox.owed() < DRAINED_BYTES {
                self.note_drained(id);
            }
        }
        self.effects.clear();
        self.say_closes();
        self.release_held();
    }

    /// Two walks: all that the core wants goes to the store; then all that the store has done goes to the core. What the core
    /// wants because of an answer (a private message once its stream is loaded, another page, a room to be unloaded) is asked at
    /// once, too, as long as the store has no more answers than fit into a turn; then it is first in the next.
    fn consult_store(&mut self) {
        let clock = self.clock;
        let mut until = None;
        let mut is_late = || {
            let now = clock.elapsed();
            now > *until.get_or_insert(now + COLLECTING_MAX)
        };
        for _ in 0..CONSULTATIONS_MAX {
            let asked = !self.effects.requests.is_empty();
            let began = self.stopwatch.is_some().then(|| self.clock.read());
            for request in self.effects.requests.drain(..) {
                self.store.submit(request);
            }
            self.store.collect(&mut self.completions, &mut is_late);
            if let (Some(began), Some(stopwatch)) = (began, &mut self.stopwatch)
                && (asked || !self.completions.is_empty())
            {
                stopwatch.add(began, self.clock.read());
            }
            for completion in self.completions.drain(..) {
                self.chat.handle(self.now, Event::Completed(completion), &mut self.effects);
            }
            if self.effects.requests.is_empty() || self.store.has_more() {
                break;
            }
        }
        if let Some(stopwatch) = &mut self.stopwatch {
            stopwatch.end_turn();
        }
    }

    /// Encodes each message once and gives each reader its share.
    fn share_out(&mut self) {
        self.scratch.order(&self.effects);
        let order = std::mem::take(&mut self.scratch.order);
        let mut next = 0;
        while let Some(&(rank, _, number)) = order.get(next) {
            let class = self.effects.deliveries[number as usize].class;
            // Messages to the same readers lie side by side and are one range.
            let run = match class {
                Class::Room => order[next..].iter().take_while(|&&(other, ..)| other == rank).count(),
                Class::Ephemeral | Class::Reply | Class::Ack => 1,
            };
            match class {
                Class::Room | Class::Ephemeral => self.share_with_room(&order[next..next + run], class),
                Class::Reply | Class::Ack => self.share_with_one(number),
            }
            next += run;
        }
        self.scratch.order = order;
    }

    fn share_with_room(&mut self, run: &[(u32, u32, u32)], class: Class) {
        let (encoder, effects, wall_ms) = (&mut self.encoder, &self.effects, self.now.wall_ms);
        let span = self.turn.write_rooms(|out| {
            for &(_, _, number) in run {
                encoder.encode(out, &effects.deliveries[number as usize].message, wall_ms);
            }
        });
        let to = &effects.deliveries[run[0].2 as usize].to;
        for &id in &effects.readers[to.start as usize..to.end as usize] {
            let Some(connection) = self.connections.find(id) else { continue };
            if !connection.phase.takes_messages()
                || (class == Class::Ephemeral && connection.outbox.owed() >= LAG_BYTES)
            {
                continue;
            }
            connection.outbox.give(span);
            if !connection.flags.in_dirty {
                connection.flags.in_dirty = true;
                self.dirty.push(id);
            }
        }
    }

    fn share_with_one(&mut self, number: u32) {
        let Delivery { message, to, .. } = &self.effects.deliveries[number as usize];
        let id: ConnId = self.effects.readers[to.start as usize];
        if !self.connections.find(id).is_some_and(|connection| connection.phase.takes_messages()) {
            return;
        }
        let (encoder, wall_ms) = (&mut self.encoder, self.now.wall_ms);
        let (span, ()) = self.turn.write_reply(|out| encoder.encode(out, message, wall_ms));
        if let Some(connection) = self.connections.find(id) {
            connection.outbox.give(span);
            self.mark_dirty(id);
        }
    }

    /// Puts a connection that is watched on the list of those whose outbox has drained.
    pub(super) fn note_drained(&mut self, id: ConnId) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.flags.watched = false;
        if !connection.flags.in_drained {
            connection.flags.in_drained = true;
            self.drained.push_back(id);
        }
    }

    /// Lets those be heard again whom the core no longer holds. After a restart thousands may wait for the disk, and each turn brings
    /// the answers to some: with so many they are not looked at in every turn.
    fn release_held(&mut self) {
        if self.held.is_empty() || self.now.mono_ms < self.held_due_ms {
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        held.retain(|&id| {
            if self.chat.is_held(id) {
                return true;
            }
            if let Some(connection) = self.connections.find(id) {
                connection.flags.held = false;
                self.resume(id);
            }
            false
        });
        self.held_due_ms = self.now.mono_ms + held.len() as Millis / HELD_PER_MS;
        self.held = held;
    }
}

impl Scratch {
    /// Gives back what a rush of turns left.
    pub(super) fn tidy(&mut self) {
        self.first.clear();
        slack::trim(&mut self.first);
        self.order.clear();
        slack::trim(&mut self.order);
    }

    /// Sets `order`: as the core said, but what goes to the same readers of a room at the place of its first, and
    /// acknowledgements last, each reader's together.
    fn order(&mut self, effects: &Effects) {
        const NONE: u32 = u32::MAX;
        self.first.clear();
        self.first.resize(effects.readers.len(), NONE);
        self.order.clear();
        for (number, delivery) in effects.deliveries.iter().enumerate() {
            let number = number as u32;
            let start = delivery.to.start;
            let (rank, reader) = match delivery.class {
                Class::Room => {
                    let first = &mut self.first[start as usize];
                    if *first == NONE {
                        *first = number;
                    }
                    (*first, 0)
                }
                Class::Ephemeral | Class::Reply => (number, 0),
                Class::Ack => (NONE, effects.readers[start as usize].index),
            };
            self.order.push((rank, reader, number));
        }
        // Numbers rise, so this is stable; in a turn of one room there is nothing to do.
        if !self.order.is_sorted() {
            self.order.sort_unstable();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Message;

    fn pong() -> Message {
        Message::Pong { t: None, reference: None }
    }

    #[test]
    fn lines_gather_by_their_readers_and_acknowledgements_come_last() {
        let mut effects = Effects::default();
        let conn = |index| ConnId { index, generation: 0 };
        let one = effects.note_readers((0..3).map(conn));
        let two = effects.note_readers((3..5).map(conn));
        effects.deliver(one.clone(), pong(), Class::Room); // 0
        effects.acknowledge(conn(2), pong()); // 1
        effects.deliver(two.clone(), pong(), Class::Room); // 2
        effects.acknowledge(conn(1), pong()); // 3
        effects.reply(conn(4), pong()); // 4
        effects.deliver(one.clone(), pong(), Class::Room); // 5
        effects.deliver(one, pong(), Class::Ephemeral); // 6
        effects.acknowledge(conn(2), pong()); // 7
        effects.deliver(two, pong(), Class::Room); // 8
        let mut scratch = Scratch::default();
        scratch.order(&effects);
        let numbers: Vec<u32> = scratch.order.iter().map(|&(.., number)| number).collect();
        assert_eq!(numbers, [0, 5, 2, 8, 4, 6, 3, 1, 7]);
    }
}

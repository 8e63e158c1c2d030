//! The turn buffer and the outboxes: lines are encoded once and each receiver gets its share, with sockets that take
//! everything at once and cost nothing.

use std::io::{self, IoSlice, Write};
use std::mem::size_of;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use slab::Slab;

use chinwag::chat::{ConnId, Message};
use chinwag::wire::encode::{Encoder, Lang};

use crate::connection::{Connection, Flags, Phase, Rest};
use crate::outbox::{Flushed, Outbox};
use crate::spelling::{WALL_MS, line};
use crate::turn_buffer::TurnBuffer;

/// A connection without a socket. What the fan-out looks at is as in [`Connection`], and the rest is as large.
pub(crate) struct Virtual {
    id: ConnId,
    phase: Phase,
    outbox: Outbox,
    flags: Flags,
    _rest: [u8; REST_BYTES],
}

/// What is in a connection beside what the fan-out looks at: the socket, addresses, times.
const REST_BYTES: usize =
    size_of::<Connection>() - (size_of::<ConnId>() + size_of::<Phase>() + size_of::<Outbox>() + size_of::<Flags>());

const _: () = assert!(size_of::<Virtual>().abs_diff(size_of::<Connection>()) <= 8, "as large as a connection");

/// One room with everybody in it.
pub(crate) struct Audience {
    connections: Slab<Virtual>,
    readers: Vec<ConnId>,
    dirty: Vec<ConnId>,
    turn: TurnBuffer,
    encoder: Encoder,
    message: Message,
}

/// The kernel, if it took everything at once.
struct Sink {
    bytes: usize,
}

impl Write for Sink {
    fn write(&mut self, slice: &[u8]) -> io::Result<usize> {
        self.bytes += black_box(slice).len();
        Ok(slice.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        slices.iter().try_fold(0, |sum, slice| Ok(sum + self.write(slice)?))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Audience {
    pub(crate) fn new(connections: usize) -> Self {
        let mut slots = Slab::new();
        for index in 0..connections {
            slots.insert(Virtual {
                id: ConnId { index: index as u32, generation: index as u32 },
                phase: Phase::Open { partial: None, rest: Rest::default() },
                outbox: Outbox::default(),
                flags: Flags::default(),
                _rest: [0xff; REST_BYTES],
            });
        }
        Self {
            readers: slots.iter().map(|(_, connection)| connection.id).collect(),
            connections: slots,
            dirty: Vec::new(),
            turn: TurnBuffer::default(),
            encoder: Encoder::new(Lang::English),
            message: line(100),
        }
    }

    /// One turn in which so many lines go to everybody, as `decide` and `flush` of the engine do it; returns the bytes that
    /// were written.
    pub(crate) fn hear(&mut self, lines: usize) -> usize {
        let (encoder, message) = (&mut self.encoder, &self.message);
        let span = self.turn.write_rooms(|out| (0..lines).for_each(|_| encoder.encode(out, message, WALL_MS)));
        for &id in &self.readers {
            let Some(connection) = find(&mut self.connections, id) else { continue };
            if !connection.phase.takes_messages() {
                continue;
            }
            connection.outbox.give(span);
            if !connection.flags.in_dirty {
                connection.flags.in_dirty = true;
                self.dirty.push(id);
            }
        }
        let mut sink = Sink { bytes: 0 };
        for id in self.dirty.drain(..) {
            let Some(connection) = find(&mut self.connections, id) else { continue };
            connection.flags.in_dirty = false;
            let flushed = connection.outbox.flush(&mut sink, &mut true, &mut self.turn, 0);
            assert!(matches!(flushed, Flushed::All));
        }
        self.turn.clear();
        sink.bytes
    }
}

fn find(connections: &mut Slab<Virtual>, id: ConnId) -> Option<&mut Virtual> {
    connections.get_mut(id.index as usize).filter(|connection| connection.id == id)
}

#[divan::bench(args = [1, 16, 256])]
fn fan_out_to_1000(bencher: Bencher<'_, '_>, lines: usize) {
    let mut audience = Audience::new(1_000);
    bencher.counter(ItemsCount::new(1_000 * lines)).bench_local(move || audience.hear(lines));
}

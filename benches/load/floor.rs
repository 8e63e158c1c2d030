//! The floor: the least that a relay can do and still be one. It runs as a process of its own (the harness starts itself
//! with [`FLOOR`] as its first argument), on the server's core, beside the server in the same run.
//!
//! * As a relay: a connection is in the group that its path names. A turn waits for events, reads what came (one `recv` for
//!   each socket), finds the frames' ends, and then does one `send` for each member of the group with all frames of the turn,
//!   padded to the length that the server's frames have. No text is looked at, nothing is checked, counted, stored, timed or
//!   limited, but what the kernel does not take is kept: nothing may be lost.
//! * For connections: a fixed 101 and welcome in one `send`, a fixed Close in answer to a Close, and it hangs up.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read as _, Write as _};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::failure::Failure;
use crate::frame;

/// The first argument of the harness as the floor. The second is how long its frames are to be, in bytes, the third how long
/// the frame that welcomes is; 0: there is none.
pub(crate) const FLOOR: &str = "__floor";

const LISTENER: Token = Token(usize::MAX);

/// As the server has it, so that turns are as long.
const EVENTS_MAX: usize = 1024;
const INPUT_BYTES: usize = 64 * 1024;

struct Member {
    socket: TcpStream,
    /// Before the handshake there is none.
    group: Option<usize>,
    /// The begin of a frame or of a handshake.
    partial: Vec<u8>,
    /// What the kernel did not take.
    unsent: Vec<u8>,
}

#[derive(Default)]
struct Group {
    members: Vec<usize>,
    /// The frames of the turn.
    frames: Vec<u8>,
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    members: Slab<Member>,
    groups: Vec<Group>,
    names: HashMap<Vec<u8>, usize>,
    /// Groups with frames in this turn.
    dirty: Vec<usize>,
    input: Vec<u8>,
    welcome: Vec<u8>,
    frame_bytes: usize,
}

/// Runs until it is killed. Says on standard output where it listens.
pub(crate) fn run(mut args: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let mut bytes = || args.next().and_then(|word| word.into_string().ok()?.parse().ok()).unwrap_or_default();
    let (frame_bytes, welcome_bytes): (usize, usize) = (bytes(), bytes());
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    let mut listener = TcpListener::from_std(socket.into());
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("floor listening on ws://{}", listener.local_addr()?);
    let mut welcome = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        .to_vec();
    if welcome_bytes > 0 {
        frame::write_padded(&mut welcome, frame::TEXT, b"", None, welcome_bytes);
    }
    let mut floor = Floor {
        poll,
        listener,
        members: Slab::new(),
        groups: Vec::new(),
        names: HashMap::new(),
        dirty: Vec::new(),
        input: vec![0; INPUT_BYTES],
        welcome,
        frame_bytes,
    };
    let mut events = Events::with_capacity(EVENTS_MAX);
    loop {
        match floor.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept()?,
                Token(number) => floor.note(number, event.is_writable(), event.is_readable()),
            }
        }
        floor.relay();
    }
}

impl Floor {
    fn accept(&mut self) -> Result<(), Failure> {
        loop {
            match self.listener.accept() {
                Ok((mut socket, _)) => {
                    socket.set_nodelay(true)?;
                    let entry = self.members.vacant_entry();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    self.poll.registry().register(&mut socket, Token(entry.key()), interest)?;
                    entry.insert(Member { socket, group: None, partial: Vec::new(), unsent: Vec::new() });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn note(&mut self, number: usize, writable: bool, readable: bool) {
        if writable && self.members.get(number).is_some_and(|member| !member.unsent.is_empty()) {
            let member = &mut self.members[number];
            let unsent = std::mem::take(&mut member.unsent);
            send(member, &unsent);
        }
        if readable {
            self.read(number);
        }
    }

    /// Reads until a read brings less than it might have.
    fn read(&mut self, number: usize) {
        let mut input = std::mem::take(&mut self.input);
        while let Some(member) = self.members.get_mut(number) {
            match member.socket.read(&mut input) {
                Ok(0) => self.remove(number),
                Ok(bytes) => {
                    self.take(number, &input[..bytes]);
                    if bytes < input.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.remove(number),
            }
        }
        self.input = input;
    }

    /// Puts the frames in `bytes` into the group's turn. Most come whole.
    fn take(&mut self, number: usize, bytes: &[u8]) {
        let member = &mut self.members[number];
        let mut partial = std::mem::take(&mut member.partial);
        let bytes = if partial.is_empty() {
            bytes
        } else {
            partial.extend_from_slice(bytes);
            &partial[..]
        };
        let mut used = 0;
        let group = if let Some(group) = member.group {
            group
        } else {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                self.members[number].partial = bytes.to_vec();
                return;
            };
            used = end + 4;
            self.greet(number, bytes)
        };
        while let Some(frame) = frame::first(&bytes[used..]) {
            let payload = &bytes[used + frame.start..used + frame.end];
            used += frame.end;
            match frame.opcode {
                frame::TEXT => {
                    let frames = &mut self.groups[group].frames;
                    if frames.is_empty() {
                        self.dirty.push(group);
                    }
                    frame::write_padded(frames, frame::TEXT, payload, frame.key, self.frame_bytes);
                }
                frame::CLOSE => {
                    send(&mut self.members[number], &[0x80 | frame::CLOSE, 2, 0x03, 0xe8]);
                    return self.remove(number);
                }
                _ => {}
            }
        }
        if used < bytes.len() {
            self.members[number].partial = bytes[used..].to_vec();
        }
    }

    /// Answers a handshake, and puts its sender into the group of its path.
    fn greet(&mut self, number: usize, head: &[u8]) -> usize {
        let path = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        let group = *self.names.entry(path.to_vec()).or_insert_with(|| {
            self.groups.push(Group::default());
            self.groups.len() - 1
        });
        self.groups[group].members.push(number);
        self.members[number].group = Some(group);
        send(&mut self.members[number], &self.welcome);
        group
    }

    /// Ends the turn: one `send` for each member of each group that has frames.
    fn relay(&mut self) {
        for group in self.dirty.drain(..) {
            let group = &mut self.groups[group];
            for &number in &group.members {
                send(&mut self.members[number], &group.frames);
            }
            group.frames.clear();
        }
    }

    fn remove(&mut self, number: usize) {
        let member = self.members.remove(number);
        if let Some(group) = member.group {
            let members = &mut self.groups[group].members;
            // The last to come is the first to go, as a rule, or the first.
            if let Some(at) = members.iter().position(|&other| other == number) {
                members.swap_remove(at);
            }
        }
    }
}

/// Sends to one, and keeps what the kernel does not take. Who is gone is noticed when it is read.
fn send(member: &mut Member, bytes: &[u8]) {
    if !member.unsent.is_empty() {
        member.unsent.extend_from_slice(bytes);
        return;
    }
    let mut sent = 0;
    while sent < bytes.len() {
        match member.socket.write(&bytes[sent..]) {
            Ok(taken) => sent += taken,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    member.unsent.extend_from_slice(&bytes[sent..]);
}

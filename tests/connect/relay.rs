//! A network between a client and a server, which breaks where it is told to.
//!
//! Each connection takes the next break of a list; when there is none left, connections last.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use crate::common::raw::{FIN, TEXT, unmasked};

/// Where and how a connection breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Break {
    /// Which bytes are counted.
    pub(crate) from: End,
    /// So many of them pass.
    pub(crate) after_bytes: usize,
    /// And then?
    pub(crate) how: How,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Both ends are reset.
    Reset,
    /// Both ends hear that the other one has ended.
    Finish,
    /// Nothing passes any more, and nobody hears of it.
    Stall,
    /// The server hears of the end; the client does not.
    HalfOpen,
}

/// The network.
pub(crate) struct Relay {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    begun: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// The frame that has a client come back at once. It is put in behind the head of the handshake's answer, where the
/// server's first frame begins.
const AT_ONCE: &str = r#"{"type":"system","code":"notice","reconnect_in_ms":0}"#;

impl Relay {
    /// To this server, with these breaks. With `at_once` the client does not wait before it comes back.
    pub(crate) fn start(server: SocketAddr, breaks: impl IntoIterator<Item = Break>, at_once: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (over, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let breaks = Mutex::new(breaks.into_iter().collect::<VecDeque<_>>());
        let (until, count) = (Arc::clone(&over), Arc::clone(&begun));
        let thread = std::thread::spawn(move || {
            let mut links = Vec::new();
            while let Ok((client, _)) = listener.accept() {
                if until.load(Ordering::Relaxed) {
                    break;
                }
                let next = breaks.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let server = std::net::TcpStream::connect(server).expect("the server accepts");
                count.fetch_add(1, Ordering::Relaxed);
                let until = Arc::clone(&until);
                links.push(std::thread::spawn(move || Link::new(client, server, next, at_once).run(&until)));
            }
            for link in links {
                let _ = link.join();
            }
        });
        Self { address, over, begun, thread: Some(thread) }
    }

    /// Its address, as typed.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // So that it does not wait for a client any more.
        let _ = std::net::TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            let _ = thread.join();
        }
    }
}

/// One connection through it.
struct Link {
    poll: Poll,
    /// The client's, the server's.
    ends: [Option<TcpStream>; 2],
    /// What is still to be written to each.
    owed: [Vec<u8>; 2],
    /// What has passed from each.
    passed: [usize; 2],
    /// Whether each has ended.
    ended: [bool; 2],
    next: Option<Break>,
    /// The answer's head, until the end of it has come.
    head: Option<Vec<u8>>,
}

impl Link {
    fn new(client: std::net::TcpStream, server: std::net::TcpStream, next: Option<Break>, at_once: bool) -> Self {
        let poll = Poll::new().expect("the system has a descriptor left");
        let mut number = 0;
        let ends = [client, server].map(|stream| {
            stream.set_nonblocking(true).expect("a socket takes that");
            stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(number), interest).expect("a socket can be awaited");
            number += 1;
            Some(stream)
        });
        let (owed, passed) = Default::default();
        Self { poll, ends, owed, passed, ended: [false; 2], next, head: at_once.then(Vec::new) }
    }

    fn run(mut self, over: &AtomicBool) {
        let mut events = Events::with_capacity(4);
        while !over.load(Ordering::Relaxed) {
            self.flush();
            for from in 0..2 {
                if self.pump(from) {
                    return self.break_off(over);
                }
            }
            if self.ended.iter().any(|ended| *ended) {
                self.flush();
                return;
            }
            let _ = self.poll.poll(&mut events, Some(Duration::from_millis(50)));
        }
    }

    /// Passes on what one end sent; whether it is time to break.
    fn pump(&mut self, from: usize) -> bool {
        let counted = self.next.filter(|next| (next.from == End::Server) == (from == 1));
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let left = counted.map_or(usize::MAX, |next| next.after_bytes - self.passed[from]);
            if left == 0 {
                return true;
            }
            let Some(stream) = &mut self.ends[from] else { return false };
            let most = bytes.len().min(left);
            match stream.read(&mut bytes[..most]) {
                Ok(0) => {
                    self.ended[from] = true;
                    return false;
                }
                Ok(length) => {
                    self.passed[from] += length;
                    self.owe(1 - from, &bytes[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.ended[from] = true;
                    return false;
                }
            }
            self.flush();
        }
    }

    fn owe(&mut self, to: usize, bytes: &[u8]) {
        self.owed[to].extend_from_slice(bytes);
        if to == 0
            && let Some(head) = &mut self.head
        {
            let begun = head.len();
            head.extend_from_slice(bytes);
            if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                let place = self.owed[0].len() - (head.len() - (at + 4));
                debug_assert!(at + 4 > begun, "the head ends in what came last");
                self.owed[0].splice(place..place, unmasked(FIN | TEXT, AT_ONCE.as_bytes()));
                self.head = None;
            }
        }
    }

    fn flush(&mut self) {
        for (owed, end) in self.owed.iter_mut().zip(&mut self.ends) {
            let Some(stream) = end else { continue };
            while !owed.is_empty() {
                match stream.write(owed) {
                    Ok(length) => drop(owed.drain(..length)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => owed.clear(),
                }
            }
        }
    }

    fn break_off(mut self, over: &AtomicBool) {
        self.flush();
        let how = self.next.map_or(How::Finish, |next| next.how);
        let hurry = |stream: &Option<TcpStream>| {
            if let Some(stream) = stream {
                let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
        };
        match how {
            How::Reset => self.ends.iter().for_each(hurry),
            How::Finish => {
                for stream in self.ends.iter().flatten() {
                    let _ = stream.shutdown(Shutdown::Write);
                }
                // What comes still is taken, or the end would be a reset after all.
                self.wait_for_the_client(over);
            }
            How::Stall => self.wait_for_the_client(over),
            How::HalfOpen => {
                hurry(&self.ends[1]);
                self.ends[1] = None;
                self.wait_for_the_client(over);
            }
        }
    }

    /// Takes what the client sends, and passes nothing on, until it is gone.
    fn wait_for_the_client(&mut self, over: &AtomicBool) {
        let mut events = Events::with_capacity(4);
        let mut bytes = vec![0; 16 * 1024];
        while !over.load(Ordering::Relaxed) {
            let Some(client) = &mut self.ends[0] else { return };
            match client.read(&mut bytes) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = self.poll.poll(&mut events, Some(Duration::from_millis(50)));
                }
                Ok(0) | Err(_) => return,
            }
        }
    }
}

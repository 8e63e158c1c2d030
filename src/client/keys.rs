//! From the keyboard's thread to the socket's: what a person asks for, in order, and never lost.
//!
//! The channel is bounded. Who writes to it when it is full waits, and so does the pipe behind it: a program that
//! writes faster than the server takes lines is slowed down, and none of its lines is dropped.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use mio::Waker;

use super::talk::Intent;

/// How many intents wait at most. Each is a line that was typed or piped; 100 more wait in the outbox.
const INTENTS_MAX: usize = 100;

/// The keyboard's end. When it is dropped, that is the end of the input.
#[derive(Debug)]
pub struct Intents {
    /// `None` only while it is dropped.
    sender: Option<SyncSender<Intent>>,
    waker: Arc<Waker>,
}

/// The socket's end.
#[derive(Debug)]
pub(super) struct Asked {
    receiver: Receiver<Intent>,
    /// Kept, so that the last wake is heard: a waker that nobody has is closed, and what it said is forgotten.
    _waker: Arc<Waker>,
}

/// What there is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This.
    Intent(Intent),
    /// Nothing now.
    Nothing,
    /// Nothing any more.
    End,
}

/// A channel whose reader sleeps on the poll of `waker`.
pub(super) fn channel(waker: Arc<Waker>) -> (Intents, Asked) {
    let (sender, receiver) = sync_channel(INTENTS_MAX);
    (Intents { sender: Some(sender), waker: Arc::clone(&waker) }, Asked { receiver, _waker: waker })
}

impl Intents {
    /// Hands an intent over. Waits while the other side has too many of them: for ever, if the server takes no lines.
    ///
    /// `Break` when nobody listens any more: the conversation has ended.
    pub fn send(&self, intent: Intent) -> ControlFlow<()> {
        let sent = self.sender.as_ref().is_some_and(|sender| sender.send(intent).is_ok());
        // A poll that cannot be woken has ended.
        let woken = self.waker.wake().is_ok();
        if sent && woken { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

impl Drop for Intents {
    fn drop(&mut self) {
        // First the channel, then the news of it.
        drop(self.sender.take());
        let _ = self.waker.wake();
    }
}

impl Asked {
    /// The next intent. Never waits.
    pub(super) fn next(&self) -> Next {
        match self.receiver.try_recv() {
            Ok(intent) => Next::Intent(intent),
            Err(TryRecvError::Empty) => Next::Nothing,
            Err(TryRecvError::Disconnected) => Next::End,
        }
    }
}

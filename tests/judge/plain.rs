//! A plain client: a room by its path, no memory, no retries after a break.

use chinwag::chat::{Message, Notice, RoomName};

use crate::presence::Presence;
use crate::{Verdict, hold};

/// A person with a plain client.
#[derive(Debug)]
pub struct Plain {
    pub link: Option<usize>,
    pub room: RoomName,
    pub welcomed: bool,
    pub back_at: u64,
    next: u64,
}

impl Plain {
    pub fn new(room: RoomName) -> Self {
        Self { link: None, room, welcomed: false, back_at: 0, next: 0 }
    }

    pub fn lost(&mut self, back_at: u64) {
        (self.link, self.welcomed, self.back_at) = (None, false, back_at);
    }

    pub fn read(&mut self, message: &Message, presence: &Presence, conn: chinwag::chat::ConnId) -> Verdict {
        match message {
            Message::System(Notice::Welcome { .. }) => {
                hold!(!self.welcomed, "a second welcome");
                (self.welcomed, self.next) = (true, presence.begin(conn));
            }
            Message::Line(line) => {
                hold!(self.welcomed, "a line before the welcome");
                hold!(line.room == self.room, "a line of {}", line.room);
                hold!(line.seq == self.next, "line {} came, and {} is next", line.seq, self.next);
                self.next += 1;
            }
            Message::Page(_) | Message::Welcome(_) | Message::Joined(_) | Message::Typing { .. } => {
                return Err(format!("a plain client was told {message:?}"));
            }
            _ => hold!(self.welcomed, "something before the welcome"),
        }
        Ok(())
    }

    pub fn judge_rest(&self, truth: &crate::truth::Truth) -> Verdict {
        let newest = truth.newest(&self.room);
        hold!(!self.welcomed || self.next == newest + 1, "{newest} lines were said, and {} is next", self.next);
        Ok(())
    }
}

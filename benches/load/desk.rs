//! Where all that an audience gets is looked at: lines go to the oracle, the few other frames are counted.

use crate::crowd::{Crowd, Event};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::oracle::{Heard, Oracle};

/// What comes in, and what is known of it.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) oracle: Oracle,
    pub(crate) latencies: Latencies,
    /// Lines that every prompt reader has, and who said them, since it was last looked at.
    pub(crate) completed: Vec<usize>,
    /// Lines at prompt readers.
    pub(crate) deliveries: u64,
    /// The first so many clients are prompt.
    pub(crate) prompt: usize,
    pub(crate) acks: u64,
    /// What is timed is how long acknowledgements take, and not lines.
    pub(crate) times_acks: bool,
    pub(crate) welcomes: usize,
    pub(crate) joined: usize,
    /// Notices that say that all are there, to the first client.
    pub(crate) all_there: usize,
    /// What that looks like.
    pub(crate) all_there_key: Vec<u8>,
    /// Bytes of the last line's frame.
    pub(crate) frame_bytes: usize,
    /// Whether readers are known to the oracle: nothing is judged before.
    pub(crate) seated: bool,
    /// Whether those who are not prompt may be sent away.
    pub(crate) may_end: bool,
    /// How many of them were.
    pub(crate) sent_away: usize,
}

impl Desk {
    /// Takes what came to a client.
    #[inline]
    pub(crate) fn hear(&mut self, crowd: &mut Crowd, client: usize, event: Event<'_>) -> Result<(), Failure> {
        match event {
            Event::Message(payload) if self.seated => {
                let judged = self.oracle.hear(client, payload);
                match judged.map_err(|violation| Failure::Violation(violation.to_string()))? {
                    Heard::Line { time, talker, complete } => {
                        if client < self.prompt {
                            self.deliveries += 1;
                            if !self.times_acks {
                                self.latencies.note(crowd.read_at().saturating_sub(time));
                            }
                        }
                        if complete {
                            self.completed.push(talker);
                            self.frame_bytes = payload.len() + if payload.len() < 126 { 2 } else { 4 };
                        }
                        Ok(())
                    }
                    Heard::Other => self.hear_other(crowd, client, payload),
                }
            }
            Event::Message(payload) => self.hear_other(crowd, client, payload),
            Event::Opened | Event::Ping => Ok(()),
            Event::Over(_) if self.may_end && client >= self.prompt => {
                self.sent_away += 1;
                self.oracle.remove_reader(client);
                Ok(())
            }
            Event::Over(code) => {
                let code = code.map_or("without a Close".to_owned(), |code| format!("with {code}"));
                Err(Failure::Violation(format!("the connection of client {client} ended {code}")))
            }
        }
    }

    fn hear_other(&mut self, crowd: &Crowd, client: usize, payload: &[u8]) -> Result<(), Failure> {
        let is =
            |kind: &str| payload.strip_prefix(br#"{"type":""#).is_some_and(|rest| rest.starts_with(kind.as_bytes()));
        if is("ack\"") {
            let judged = self.oracle.hear_acknowledgement(client, payload);
            let time = judged.map_err(|violation| Failure::Violation(violation.to_string()))?;
            self.acks += 1;
            if self.times_acks {
                self.latencies.note(crowd.read_at().saturating_sub(time));
            }
        } else if is("welcome\"") || is("system\"") {
            self.welcomes += 1;
        } else if is("joined\"") {
            self.joined += 1;
        } else if is("user_join\"") {
            let key = &self.all_there_key;
            self.all_there += usize::from(client == 0 && payload.windows(key.len()).any(|window| window == key));
        } else if is("error\"") {
            return Err(Failure::from(format!("client {client} got {}", String::from_utf8_lossy(payload))));
        }
        Ok(())
    }
}

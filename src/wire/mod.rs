//! Bytes to values and back: the spelling of what [`chat`](crate::chat) means. Pure: no sockets, no clock, no state
//! that outlives a message but the decoder's.
//!
//! What comes in, in the order in which a connection meets it:
//! - [`head`] reads the HTTP request head ([`http`](crate::http) answers it),
//! - [`decoder`] makes WebSocket messages of bytes, with tungstenite; [`frame`] shows it each frame's header first,
//! - [`command`] makes a request of a text message.
//!
//! What goes out:
//! - [`encode`] makes frames of messages, the notices in the words of `words`,
//! - [`frame`] writes the frames that carry no JSON, and finds the end of a frame that was sent in part,
//! - [`timestamp`] spells times.
//!
//! And for people, [`system`] leaves out the numbers of the system's errors.

mod close_watch;
pub mod command;
pub mod decoder;
pub mod encode;
pub mod frame;
pub mod head;
pub mod system;
pub mod timestamp;
mod words;

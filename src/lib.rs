//! **Chinwag**: a real-time chat and broadcast server in one small binary, a single-threaded, hand-written mio event
//! loop. `chat` decides, `wire` spells, `engine` moves, `store` keeps.
//!
//! # The turn
//!
//! Everything happens in turns of the loop ([`engine`]). No call goes back up, and the order carries the promises:
//!
//! ```text
//! sleep   poll; note readiness on each connection; accept within a budget
//! hear    read -> frames -> commands -> chat.handle(now, event, &mut effects); timers that fell due
//! decide  hand requests to the store, collect what it answers, encode messages, give each outbox its share
//! flush   write what each dirty connection has
//! reap    free the doomed; chat hears Closed; what follows waits for the next turn
//! ```
//!
//! Nothing is told before it is stored; nothing is freed while an id to it may be pending; no effect is applied while
//! another is being decided.
//!
//! # The walk of one line
//!
//! ```text
//! socket -> engine::hear        bytes, within a budget
//!        -> wire::decoder       WebSocket frames to one message (tungstenite, sans-I/O)
//!        -> wire::command       JSON to a chat::Command
//!        -> chat::Chat::handle  the rules: Request::Append with a ticket
//!        -> store               the line's place: Completion::Appended
//!        -> chat::Chat::handle  who gets it: Delivery to a range of readers
//!        -> wire::encode        one WebSocket frame, once, into the turn's buffer
//!        -> engine::outbox      each reader's share: a range of that buffer
//!        -> socket
//! ```
//!
//! # The modules, in reading order
//!
//! * [`config`]: what was typed, what is meant; every limit with its unit, default and reason.
//! * [`chat`]: the rules. No I/O, no clock.
//! * [`wire`]: bytes to values and back. Pure.
//! * [`store`]: what was said, kept: append, ticket, appended.
//! * [`http`]: what a request that comes in is answered: the upgrade, or an HTTP error.
//! * [`engine`]: the loop. The one folder that knows mio, sockets and the clock.
//! * [`client`]: the terminal client, which is no part of the server: it shares the spelling only.
//! * [`history`]: what is kept, looked after from the command line.
//! * [`logging`]: lines to standard error, without ever stopping the loop.
pub mod chat;
pub mod store;

pub mod client;
pub mod config;
pub mod engine;
pub mod history;
pub mod http;
pub mod logging;
pub mod wire;

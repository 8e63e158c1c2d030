//! What lies in the file: its tables, its marks, and the epochs that follow from them.
//!
//! Whoever opens the file with another program finds the comments below in it. All of the folder reads and writes by this.

use std::sync::Arc;

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _, ToSql};
use sha2::Sha256;

/// In the file's header, so that no other program's database is taken for ours: "Chwg".
pub(super) const APPLICATION_ID: i32 = 0x4368_7767;

/// In the file's header: the version of what is described here.
pub(super) const VERSION: i32 = 1;

/// SQLite's own default; a line of 100 bytes shares a page with some twenty.
pub(super) const PAGE_BYTES: u64 = 4_096;

/// Makes the tables of a new file.
pub(super) const CREATE: &str = "
CREATE TABLE meta (
    -- key: 32 random bytes; sessions are sealed and epochs are made with it. id: this file among others.
    -- opens: how often it was opened. clean: 1 if it was closed in order since. boot: the system's run in which it was opened.
    -- generation: how often lines may have been lost from the end. lives: how often a room was forgotten that had had lines.
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE room (
    id INTEGER PRIMARY KEY,
    -- A user's stream of private messages is '@' and the user's id.
    name TEXT NOT NULL UNIQUE,
    -- The life of the count. Made in this generation of meta.
    epoch TEXT NOT NULL,
    generation INTEGER NOT NULL,
    -- The epoch before, and the seq up to which both mean the same lines.
    former TEXT,
    former_top INTEGER,
    -- The newest seq that ever was, if its message is gone; else this may be behind.
    top INTEGER NOT NULL,
    -- What its messages up to top cost; and that to within an eighth, for finding the largest.
    bytes INTEGER NOT NULL,
    class INTEGER NOT NULL,
    -- Of a stream: when its owner was seen, to within a day, in seconds since 1970.
    seen INTEGER
) STRICT;
CREATE INDEX room_class ON room (class);
CREATE TABLE message (
    room INTEGER NOT NULL,
    -- Dense: from the oldest that is kept to the newest there is no hole.
    seq INTEGER NOT NULL,
    -- Milliseconds since 1970.
    time INTEGER NOT NULL,
    -- 80 random bits.
    user BLOB NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT,
    id TEXT,
    -- CRC-32 of all that, with the room's name in its place.
    crc INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;
";

/// Reads a mark.
pub(super) fn mark<T: FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<Option<T>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    statement.query_row([name], |row| row.get(0)).optional()
}

/// Sets a mark.
pub(super) fn set_mark(connection: &Connection, name: &str, value: impl ToSql) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    connection.prepare_cached(sql)?.execute((name, value)).map(drop)
}

/// 80 bits are 16 letters.
const EPOCH_BYTES: usize = 10;

/// Makes epochs. They follow from what is in the file, so that nothing need be written for a room in which nobody has said
/// anything yet, and it keeps its epoch over a restart all the same.
#[derive(Clone, Debug)]
pub(super) struct Epochs {
    mac: Hmac<Sha256>,
}

impl Epochs {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { mac: Hmac::new_from_slice(key).expect("an HMAC key may have any length") }
    }

    /// Of a room that never had a line, or that was forgotten. `lives` has grown since it was forgotten, so no epoch of a room
    /// that had lines comes back.
    pub(super) fn first(&self, room: &str, lives: u64, generation: u64) -> Arc<str> {
        self.make("first", room, lives, generation)
    }

    /// Of a room from which lines may have been lost, in the generation that began when that was noticed.
    pub(super) fn next(&self, epoch: &str, generation: u64) -> Arc<str> {
        self.make("next", epoch, 0, generation)
    }

    /// Of a room whose lines come from elsewhere: one that never was.
    pub(super) fn random() -> Result<Arc<str>, getrandom::Error> {
        let mut bits = [0; EPOCH_BYTES];
        getrandom::fill(&mut bits)?;
        Ok(BASE32_NOPAD.encode(&bits).to_ascii_lowercase().into())
    }

    fn make(&self, kind: &str, text: &str, lives: u64, generation: u64) -> Arc<str> {
        let mut mac = self.mac.clone();
        // Longer than what sessions are sealed by, so that neither can be taken for the other.
        mac.update(b"chinwag, the epoch of a room: ");
        mac.update(kind.as_bytes());
        // No text holds 0xff, so nothing can run over from one field into the next.
        mac.update(&[0xff]);
        mac.update(text.as_bytes());
        mac.update(&[0xff]);
        mac.update(&lives.to_be_bytes());
        mac.update(&generation.to_be_bytes());
        BASE32_NOPAD.encode(&mac.finalize().into_bytes()[..EPOCH_BYTES]).to_ascii_lowercase().into()
    }
}

//! How much there is.
//!
//! Messages are counted by their places, from the oldest that is kept to the newest, and not one by one. Bytes are what the lines cost in
//! the file, to within an eighth.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use indicatif::BinaryBytes;
use serde::Serialize;

use crate::chat::{Millis, RoomName};
use crate::store::{Archive, Extent};
use crate::wire::timestamp::write_rfc3339;

use super::progress::Progress;
use super::{Failure, Format, Outcome, count};

/// Rooms that are told by name.
const LARGEST_MAX: usize = 10;

/// What is told.
#[derive(Debug, Default, Serialize)]
struct Stats {
    store: String,
    file_bytes: u64,
    log_bytes: u64,
    rooms: Sum,
    streams: Sum,
    /// Rooms, not streams.
    largest: Vec<Room>,
}

/// Of rooms, or of streams.
#[derive(Debug, Default, Serialize)]
struct Sum {
    count: u64,
    messages: u64,
    bytes: u64,
    oldest: Option<String>,
    newest: Option<String>,
    #[serde(skip)]
    times: Option<(Millis, Millis)>,
}

#[derive(Debug, Serialize)]
struct Room {
    #[serde(rename = "room")]
    name: String,
    messages: u64,
    bytes: u64,
    oldest: Option<String>,
    newest: Option<String>,
}

pub(super) fn run(path: &Path, format: Format, output: &mut impl Write) -> Result<Outcome, Failure> {
    let archive = Archive::open(path)?;
    let (file_bytes, log_bytes) = archive.file_bytes().map_err(|error| Failure::Input(path.to_owned(), error))?;
    let store = path.display().to_string();
    let mut stats = Stats { store, file_bytes, log_bytes, ..Stats::default() };
    let bar = Progress::new("counting", Some(archive.bytes()?), false);
    let mut after = 0;
    loop {
        let entries = archive.rooms(after)?;
        let Some(last) = entries.last() else { break };
        after = last.id;
        // Verify tells of what has no name.
        for name in entries.iter().filter_map(|entry| entry.name.as_ref().ok()) {
            if let Some(extent) = archive.extent(name)? {
                let bytes = archive.room_bytes(name, &extent)?;
                bar.advance(usize::try_from(extent.bytes).unwrap_or(usize::MAX));
                stats.add(name, &extent, bytes);
            }
        }
    }
    bar.end();
    archive.end()?;
    let text = match format {
        Format::Json => serde_json::to_string(&stats).expect("numbers and texts can be spelled") + "\n",
        Format::Text => stats.table(),
    };
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(Failure::Output)?;
    Ok(Outcome::Whole)
}

impl Stats {
    fn add(&mut self, name: &RoomName, extent: &Extent, bytes: u64) {
        let messages = (extent.newest.0 + 1).saturating_sub(extent.oldest.0);
        let sum = if name.is_stream() { &mut self.streams } else { &mut self.rooms };
        sum.count += 1;
        sum.messages += messages;
        sum.bytes += bytes;
        if let (Some(oldest), Some(newest)) = (extent.oldest.1, extent.newest.1) {
            let (first, last) = sum.times.unwrap_or((oldest, newest));
            sum.times = Some((first.min(oldest), last.max(newest)));
            sum.oldest = sum.times.map(|(first, _)| spelled(first));
            sum.newest = sum.times.map(|(_, last)| spelled(last));
        }
        if name.is_stream() || messages == 0 {
            return;
        }
        let at = self.largest.partition_point(|other| other.bytes >= bytes);
        if at < LARGEST_MAX {
            let (oldest, newest) = (extent.oldest.1.map(spelled), extent.newest.1.map(spelled));
            self.largest.insert(at, Room { name: name.to_string(), messages, bytes, oldest, newest });
            self.largest.truncate(LARGEST_MAX);
        }
    }

    /// For people.
    fn table(&self) -> String {
        let mut out = String::new();
        let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
        let file = BinaryBytes(self.file_bytes);
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}: {file}, and {} of log", self.store, BinaryBytes(self.log_bytes));
        let mut rows = vec![["", "messages", "bytes", "oldest", "newest"].map(str::to_owned).to_vec()];
        for (kind, sum) in [("room", &self.rooms), ("stream", &self.streams)] {
            let bytes = BinaryBytes(sum.bytes).to_string();
            rows.push(vec![
                count(sum.count, kind),
                sum.messages.to_string(),
                bytes,
                time(&sum.oldest),
                time(&sum.newest),
            ]);
        }
        write_rows(&mut out, &rows);
        if self.largest.is_empty() {
            return out;
        }
        let mut rows = vec![["largest rooms", "messages", "bytes", "oldest", "newest"].map(str::to_owned).to_vec()];
        for room in &self.largest {
            let bytes = BinaryBytes(room.bytes).to_string();
            rows.push(vec![
                room.name.clone(),
                room.messages.to_string(),
                bytes,
                time(&room.oldest),
                time(&room.newest),
            ]);
        }
        out.push('\n');
        write_rows(&mut out, &rows);
        out
    }
}

/// Columns as wide as what is in them; numbers to the right.
fn write_rows(out: &mut String, rows: &[Vec<String>]) {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                1 | 2 => write!(line, "{cell:>width$}  "),
                _ => write!(line, "{cell:<width$}  "),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

fn spelled(time_ms: Millis) -> String {
    let mut out = Vec::new();
    write_rfc3339(&mut out, time_ms);
    String::from_utf8_lossy(&out).into_owned()
}

//! Is everything as it was written?
//!
//! - SQLite's own check of the file.
//! - Each line's CRC.
//! - No line is missing between the oldest one that is kept and the newest one that the room has counted. What retention takes is at the
//!   oldest end, so a line that is lost there cannot be told from one that was taken; and at the newest end the count may be behind by some
//!   64 KiB of lines.
//! - Each line's room is there, and has a good name.

use std::io::Write;
use std::path::Path;

use crate::chat::RoomName;
use crate::store::{Archive, Entry, Extent, ReadError};

use super::places::{self, Places, seqs};
use super::progress::Progress;
use super::{Failure, Outcome, amounts};

/// Places that SQLite is to look for: its own default.
const CHECK_PLACES_MAX: usize = 100;

pub(super) fn run(path: &Path, output: &mut impl Write) -> Result<Outcome, Failure> {
    let archive = Archive::open(path)?;
    let mut check =
        Check { archive: &archive, output, places: Places::default(), rooms: 0, streams: 0, lines: 0, bar: None };
    check.file()?;
    check.rooms()?;
    check.strays()?;
    let Check { places, rooms, streams, lines, .. } = check;
    if let Some(untold) = places.untold() {
        writeln!(output, "{untold}").map_err(Failure::Output)?;
    }
    archive.end()?;
    let found = match places.count() {
        0 => "whole".to_owned(),
        1 => "1 place is damaged".to_owned(),
        more => format!("{more} places are damaged"),
    };
    let looked_at = amounts(rooms, streams, lines);
    writeln!(output, "{}: {found} ({looked_at})", path.display()).map_err(Failure::Output)?;
    output.flush().map_err(Failure::Output)?;
    Ok(if places.count() == 0 { Outcome::Whole } else { Outcome::Damaged })
}

/// What was looked at so far.
struct Check<'a, W> {
    archive: &'a Archive,
    output: &'a mut W,
    places: Places,
    rooms: u64,
    streams: u64,
    lines: u64,
    bar: Option<Progress>,
}

impl<W: Write> Check<'_, W> {
    fn found(&mut self, whose: &str, what: &str) -> Result<(), Failure> {
        let Some(sentence) = self.places.found(whose, what) else { return Ok(()) };
        let written = match &self.bar {
            Some(bar) => bar.beside(|| writeln!(self.output, "{sentence}")),
            None => writeln!(self.output, "{sentence}"),
        };
        written.map_err(Failure::Output)
    }

    /// A thing that cannot be read is damage, and the rest may be readable.
    fn readable<T>(&mut self, whose: &str, result: Result<T, ReadError>) -> Result<Option<T>, Failure> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.found(whose, &places::unreadable(&error)).map(|()| None),
        }
    }

    fn file(&mut self) -> Result<(), Failure> {
        let bar = Progress::new("checking the file", None, false);
        bar.tick();
        let checked = self.archive.check(CHECK_PLACES_MAX);
        bar.end();
        for what in self.readable("the file", checked)?.unwrap_or_default() {
            self.found("the file", &what)?;
        }
        Ok(())
    }

    fn rooms(&mut self) -> Result<(), Failure> {
        let bytes = self.archive.bytes();
        self.bar = Some(Progress::new("reading the messages", bytes.ok(), false));
        let mut after = 0;
        loop {
            let entries = self.archive.rooms(after);
            let Some(entries) = self.readable("the rooms", entries)? else { break };
            let Some(last) = entries.last() else { break };
            after = last.id;
            for entry in &entries {
                self.room(entry)?;
            }
        }
        if let Some(bar) = self.bar.take() {
            bar.end();
        }
        Ok(())
    }

    fn room(&mut self, entry: &Entry) -> Result<(), Failure> {
        let name = match &entry.name {
            Ok(name) => name,
            Err(text) => return self.found(&format!("room number {}", entry.id), &format!("{text:?} is no name")),
        };
        let whose = format!("room {name}");
        let extent = self.archive.extent(name);
        // A room may be forgotten at any time.
        let Some(Some(extent)) = self.readable(&whose, extent)? else { return Ok(()) };
        *if name.is_stream() { &mut self.streams } else { &mut self.rooms } += 1;
        self.room_lines(name, &whose, &extent)
    }

    fn room_lines(&mut self, name: &RoomName, whose: &str, extent: &Extent) -> Result<(), Failure> {
        let (mut next, newest) = (extent.oldest.0, extent.newest.0);
        while next <= newest {
            let read = self.archive.page(name, extent, next, newest);
            let page = match read {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let behind = self.archive.readable_behind(name, extent, next, newest).unwrap_or(newest + 1);
                    let place = format!("{whose}, {}", seqs(next, behind - 1));
                    self.found(&place, &places::unreadable(&error))?;
                    next = behind;
                    continue;
                }
            };
            // Retention may have taken some since.
            next = next.max(page.oldest);
            if page.lines.is_empty() {
                break;
            }
            for line in page.lines {
                let seq = line.as_ref().map_or_else(|&seq| seq, |line| line.seq);
                if seq > next {
                    self.found(&format!("{whose}, {}", seqs(next, seq - 1)), "missing")?;
                }
                if line.is_err() {
                    self.found(&format!("{whose}, seq {seq}"), places::ALTERED)?;
                }
                self.lines += 1;
                next = seq + 1;
            }
            if let Some(bar) = &self.bar {
                bar.advance(page.bytes);
            }
        }
        if next <= newest {
            self.found(&format!("{whose}, {}", seqs(next, newest)), "missing")?;
        }
        Ok(())
    }

    /// Lines of no room.
    fn strays(&mut self) -> Result<(), Failure> {
        let mut after = i64::MIN;
        loop {
            let next = self.archive.lines_of_any_room(after);
            let Some(Some((id, is_there))) = self.readable("the messages", next)? else { return Ok(()) };
            after = id;
            if !is_there {
                self.found(&format!("room number {id}"), "there are messages of it, but not the room")?;
            }
        }
    }
}

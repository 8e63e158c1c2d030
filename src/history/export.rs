//! What was said, a message a line.
//!
//! Rooms come one after the other in the order in which they came to be, each with its lines in order, from the oldest that is kept up to the one that
//! is the newest when its turn comes. So beside a server that runs, it is of each room what there was at one moment; and rooms that
//! come to be later are left out, so that it ends.
//!
//! What is damaged is left out and told on standard error, and the rest is written: it may be all that can be saved.

use std::io::Write;
use std::path::Path;

use crate::chat::{Line, RoomName};
use crate::client::Lines;
use crate::client::talk::Said;
use crate::store::{Archive, Extent, ReadError};
use crate::wire::timestamp::Clockface;

use super::places::{self, Places, seqs};
use super::progress::Progress;
use super::{Failure, Format, Outcome, count, line};

pub(super) fn run(
    path: &Path,
    room: Option<&RoomName>,
    format: Format,
    output: &mut impl Write,
) -> Result<Outcome, Failure> {
    let archive = Archive::open(path)?;
    let bytes = match room {
        None => archive.bytes()?,
        Some(room) => match archive.extent(room)? {
            Some(extent) => extent.bytes,
            None => return Err(Failure::NoRoom(path.to_owned(), room.clone())),
        },
    };
    let mut export = Export {
        archive: &archive,
        output,
        spelling: match format {
            Format::Json => Spelling::Json(Clockface::default()),
            Format::Text => Spelling::Text(Box::new(Lines::of_history(room.is_none())), Clockface::default()),
        },
        text: Vec::new(),
        places: Places::default(),
        bar: Progress::beside_output("exporting", bytes),
    };
    match room {
        Some(room) => export.room(room)?,
        None => export.all()?,
    }
    export.output.flush().map_err(Failure::Output)?;
    export.bar.end();
    let Export { places, bar, .. } = export;
    if let Some(untold) = places.untold() {
        bar.note(&untold);
    }
    if places.count() > 0 {
        bar.note(&format!("{} left out", count(places.count(), "damaged place")));
    }
    archive.end()?;
    Ok(if places.count() == 0 { Outcome::Whole } else { Outcome::Damaged })
}

/// An export that is being written.
struct Export<'a, W> {
    archive: &'a Archive,
    output: &'a mut W,
    spelling: Spelling,
    /// Of one page.
    text: Vec<u8>,
    places: Places,
    bar: Progress,
}

/// How lines are spelled.
enum Spelling {
    Json(Clockface),
    Text(Box<Lines>, Clockface),
}

impl<W: Write> Export<'_, W> {
    fn all(&mut self) -> Result<(), Failure> {
        let (mut after, last) = (0, self.archive.last_room()?);
        loop {
            let entries = self.archive.rooms(after);
            let Some(entries) = self.readable("the rooms", entries) else { return Ok(()) };
            let Some(end) = entries.last() else { return Ok(()) };
            after = end.id;
            for entry in entries.iter().filter(|entry| entry.id <= last) {
                match &entry.name {
                    Ok(name) => self.room(name)?,
                    Err(text) => self.found(&format!("room number {}", entry.id), &format!("{text:?} is no name")),
                }
            }
            if after >= last {
                return Ok(());
            }
        }
    }

    fn room(&mut self, name: &RoomName) -> Result<(), Failure> {
        let whose = format!("room {name}");
        let extent = self.archive.extent(name);
        let Some(Some(extent)) = self.readable(&whose, extent) else { return Ok(()) };
        let (mut next, newest) = (extent.oldest.0, extent.newest.0);
        while next <= newest {
            let page = self.archive.page(name, &extent, next, newest);
            let page = match page {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let behind = self.archive.readable_behind(name, &extent, next, newest).unwrap_or(newest + 1);
                    self.found(&format!("{whose}, {}", seqs(next, behind - 1)), &places::unreadable(&error));
                    next = behind;
                    continue;
                }
            };
            let Some(last) = page.lines.last() else { return Ok(()) };
            next = 1 + last.as_ref().map_or_else(|&seq| seq, |line| line.seq);
            self.text.clear();
            for line in &page.lines {
                match line {
                    Ok(line) => self.spelling.write(&mut self.text, line, &extent),
                    Err(seq) => {
                        self.found(&format!("room {name}, seq {seq}"), places::ALTERED);
                    }
                }
            }
            self.output.write_all(&self.text).map_err(Failure::Output)?;
            self.bar.advance(page.bytes);
        }
        Ok(())
    }

    fn found(&mut self, whose: &str, what: &str) {
        if let Some(sentence) = self.places.found(whose, what) {
            self.bar.note(&sentence);
        }
    }

    fn readable<T>(&mut self, whose: &str, result: Result<T, ReadError>) -> Option<T> {
        result.map_err(|error| self.found(whose, &places::unreadable(&error))).ok()
    }
}

impl Spelling {
    fn write(&mut self, out: &mut Vec<u8>, line: &Line, extent: &Extent) {
        match self {
            Self::Json(clockface) => line::write(out, line, &extent.epoch, clockface),
            Self::Text(lines, clockface) => {
                let draft = &line.draft;
                let said = Said {
                    room: draft.to.is_none().then(|| line.room.to_string()),
                    from: draft.from.to_string(),
                    user: None,
                    to: draft.to.as_ref().map(ToString::to_string),
                    message: draft.message.to_string(),
                    timestamp: String::from_utf8_lossy(clockface.show(draft.time_ms)).into_owned(),
                    own: false,
                    old: true,
                };
                out.extend_from_slice(lines.past(&said).as_bytes());
            }
        }
    }
}

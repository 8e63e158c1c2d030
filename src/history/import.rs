//! An export, put into a store: all of it or nothing.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::path::Path;

use crate::store::Restore;

use super::progress::Progress;
use super::{Failure, Outcome, amounts, count, line};

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 << 10;

pub(super) fn run(path: &Path, file: Option<&Path>, output: &mut impl Write) -> Result<Outcome, Failure> {
    let named = file.unwrap_or(Path::new("standard input"));
    let unreadable = |error| Failure::Input(named.to_owned(), error);
    let (mut input, bytes): (Box<dyn BufRead>, _) = match file {
        None => (Box::new(io::stdin().lock()), None),
        Some(file) => {
            let file = File::open(file).map_err(unreadable)?;
            let metadata = file.metadata().map_err(unreadable)?;
            if metadata.is_dir() {
                return Err(unreadable(io::Error::from(io::ErrorKind::IsADirectory)));
            }
            let bytes = metadata.is_file().then_some(metadata.len());
            (Box::new(BufReader::with_capacity(BUFFER_BYTES, file)), bytes)
        }
    };
    let mut restore = Restore::begin(path)?;
    let bar = Progress::new("importing", bytes, false);
    let (mut text, mut number, mut streams) = (Vec::new(), 0, HashSet::new());
    loop {
        text.clear();
        let most = line::LINE_BYTES_MAX as u64 + 1;
        let length = input.by_ref().take(most).read_until(b'\n', &mut text).map_err(unreadable)?;
        if length == 0 {
            break;
        }
        number += 1;
        bar.advance(length);
        if length > line::LINE_BYTES_MAX {
            return Err(Failure::Line(number, format!("it is longer than {} bytes", line::LINE_BYTES_MAX)));
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let given = line::read(&text).map_err(|why| Failure::Line(number, why))?;
        if given.line.room.is_stream() && !streams.contains(&given.line.room) {
            streams.insert(given.line.room.clone());
        }
        restore.add(given).map_err(|why| Failure::Line(number, why.to_string()))?;
    }
    let restored = restore.finish()?;
    bar.end();
    if restored.missing > 0 {
        bar.note(&format!("{} missing between others; what follows has moved up", count(restored.missing, "message")));
    }
    let rooms = (restored.rooms - streams.len()) as u64;
    let imported = amounts(rooms, streams.len() as u64, restored.lines);
    writeln!(output, "{}: imported ({imported})", path.display()).map_err(Failure::Output)?;
    Ok(Outcome::Whole)
}

//! The judge of what receivers get: nothing lost, repeated, out of order or altered. It knows no sockets and no clock; times
//! are numbers that it is given and gives back.
//!
//! Each line that is said carries a mark: who says it (a [`Talker`]) and the how-manieth it is of theirs. All readers of a
//! stream (a room) must get the same lines in the same order, so whoever is the first to get a line is judged by its mark, and
//! by its `seq` if it has one, and everybody after that must get the same bytes. That makes one comparison of some
//! hundred bytes for each delivery, the cheapest and the strictest that there is.
//!
//! Called by the scenes. `tests/load_oracle.rs` shows that it finds a hole, a repetition and a swap.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;

/// Begins a mark; it stands in no other text of ours.
const MARK: u8 = b'~';

/// Bytes of a mark: [`MARK`], eight digits for the talker, eight for the number, in hexadecimal.
pub(crate) const MARK_BYTES: usize = 17;

/// Who says lines in one stream: a connection, once for each room in which it talks.
#[derive(Debug)]
struct Talker {
    stream: usize,
    /// Lines that were said.
    said: u32,
    /// Lines that somebody has got.
    seen: u32,
    /// When those were said that nobody has got yet.
    times: VecDeque<u64>,
    /// Who is to get an acknowledgement of each line; `None`: nobody.
    owner: Option<usize>,
    /// Lines that were acknowledged.
    acknowledged: u32,
    /// When those were said that somebody has got and that are not acknowledged yet, and their `seq`.
    told: VecDeque<(u64, Option<u64>)>,
}

/// A line that somebody has got, and not everybody yet.
#[derive(Debug)]
struct Line {
    payload: Box<[u8]>,
    time: u64,
    talker: usize,
    /// Prompt readers who have not got it.
    prompt_left: u32,
    /// All readers who have not got it.
    left: u32,
}

/// The lines of a room, in the order in which everybody has to get them.
#[derive(Debug, Default)]
struct Stream {
    /// The place of the front of `lines` in the whole stream.
    begin: u64,
    lines: VecDeque<Line>,
    /// The `seq` of the last line; `None` where lines have none.
    seq: Option<u64>,
    prompt_readers: u32,
    readers: u32,
}

/// A receiver, and how far it is in each of its streams.
#[derive(Debug, Default)]
struct Reader {
    /// A stream, and the place of the line that has to come next.
    places: Vec<(usize, u64)>,
    /// Which of them the last line was of: the next is likely to be of it, too.
    last: usize,
    prompt: bool,
}

/// What a receiver got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The line that was due.
    Line {
        /// When it was said.
        time: u64,
        /// Who said it.
        talker: usize,
        /// Whether the last prompt reader now has it.
        complete: bool,
    },
    /// No line of ours: a welcome, a notice, an acknowledgement.
    Other,
}

/// What must not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A line that was not due yet: one before it is lost, or comes later.
    Skipped(String),
    /// A line that was there already.
    Repeated(String),
    /// A line that nobody said, or that others got otherwise, or that is not for this reader.
    Wrong(String),
    /// Lines that did not come.
    Missing(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, words) = match self {
            Self::Skipped(words) => ("lost or out of order", words),
            Self::Repeated(words) => ("repeated", words),
            Self::Wrong(words) => ("wrong", words),
            Self::Missing(words) => ("missing", words),
        };
        write!(f, "{kind}: {words}")
    }
}

/// All talkers, streams and readers of one subject.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    talkers: Vec<Talker>,
    streams: Vec<Stream>,
    readers: Vec<Reader>,
}

impl Oracle {
    /// Another stream; returns its number, from 0. A room is one. Of a server that promises no common order, each talker is.
    pub(crate) fn add_stream(&mut self) -> usize {
        self.streams.push(Stream::default());
        self.streams.len() - 1
    }

    /// Somebody who will talk in `stream`; returns its number, from 0.
    pub(crate) fn add_talker(&mut self, stream: usize) -> usize {
        let (times, told) = (VecDeque::new(), VecDeque::new());
        self.talkers.push(Talker { stream, said: 0, seen: 0, times, owner: None, acknowledged: 0, told });
        self.talkers.len() - 1
    }

    /// Each line of `talker` has to be acknowledged to `reader`: once, in the order in which they were said, after it was told.
    pub(crate) fn expect_acknowledgements(&mut self, talker: usize, reader: usize) {
        self.talkers[talker].owner = Some(reader);
    }

    /// Somebody who has to get all lines of these streams from now on; returns its number, from 0. A line is complete when
    /// the `prompt` readers have it.
    pub(crate) fn add_reader(&mut self, streams: &[usize], prompt: bool) -> usize {
        let places = streams
            .iter()
            .map(|&number| {
                let stream = &mut self.streams[number];
                stream.readers += 1;
                stream.prompt_readers += u32::from(prompt);
                (number, stream.end())
            })
            .collect();
        self.readers.push(Reader { places, last: 0, prompt });
        self.readers.len() - 1
    }

    /// A reader is gone and need not get anything any more. Nobody may have got a line that is not the stream's first.
    pub(crate) fn remove_reader(&mut self, reader: usize) {
        let Reader { places, prompt, .. } = std::mem::take(&mut self.readers[reader]);
        for (number, place) in places {
            let stream = &mut self.streams[number];
            stream.readers -= 1;
            stream.prompt_readers -= u32::from(prompt);
            let from = (place - stream.begin) as usize;
            for line in stream.lines.range_mut(from..) {
                line.left -= 1;
                line.prompt_left -= u32::from(prompt);
            }
            stream.forget();
        }
    }

    /// A line is said at `time`: its mark is written in place of the first [`MARK_BYTES`] of `message`.
    ///
    /// # Panics
    /// If `message` is shorter than a mark.
    pub(crate) fn say(&mut self, talker: usize, time: u64, message: &mut [u8]) {
        let number = self.talkers[talker].said;
        self.talkers[talker].said += 1;
        self.talkers[talker].times.push_back(time);
        message[0] = MARK;
        write_hex(&mut message[1..9], talker as u32);
        write_hex(&mut message[9..MARK_BYTES], number);
    }

    /// How many lines were said in all.
    pub(crate) fn said(&self) -> u64 {
        self.talkers.iter().map(|talker| u64::from(talker.said)).sum()
    }

    /// How many lines of `stream` somebody has got.
    pub(crate) fn stream_len(&self, stream: usize) -> u64 {
        self.streams[stream].end()
    }

    /// How many lines of its first stream a reader has got, counted from the stream's begin.
    pub(crate) fn place(&self, reader: usize) -> u64 {
        self.readers[reader].places.first().map_or(0, |&(_, place)| place)
    }

    /// Judges what `reader` got.
    ///
    /// # Errors
    /// When it should not have got that, or not now.
    #[inline]
    pub(crate) fn hear(&mut self, reader: usize, payload: &[u8]) -> Result<Heard, Violation> {
        let Reader { places, last, prompt } = &mut self.readers[reader];
        for turn in 0..places.len() {
            let at = (*last + turn) % places.len();
            let (number, place) = places[at];
            let stream = &mut self.streams[number];
            let Some(line) = stream.lines.get_mut((place - stream.begin) as usize) else { continue };
            if *line.payload == *payload {
                places[at].1 += 1;
                *last = at;
                line.left -= 1;
                line.prompt_left -= u32::from(*prompt);
                let heard =
                    Heard::Line { time: line.time, talker: line.talker, complete: *prompt && line.prompt_left == 0 };
                if line.left == 0 {
                    stream.forget();
                }
                return Ok(heard);
            }
        }
        self.hear_first(reader, payload)
    }

    /// Judges what is not the line that others got at this place: no line at all, or one that nobody got so far.
    fn hear_first(&mut self, reader: usize, payload: &[u8]) -> Result<Heard, Violation> {
        let Some((talker, number)) = read_mark(payload) else { return Ok(Heard::Other) };
        let words = || format!("reader {reader} got line {number} of talker {talker}");
        let Some(&mut Talker { stream: stream_number, said, ref mut seen, ref mut times, owner, ref mut told, .. }) =
            self.talkers.get_mut(talker)
        else {
            return Err(Violation::Wrong(format!("{}, who does not talk", words())));
        };
        let Reader { places, last, prompt } = &mut self.readers[reader];
        let Some(at) = places.iter().position(|&(stream, _)| stream == stream_number) else {
            return Err(Violation::Wrong(format!("{}, but is not in that room", words())));
        };
        let stream = &mut self.streams[stream_number];
        let ahead = (places[at].1 - stream.begin) as usize;
        if number < *seen {
            // Others got it already. Did this one?
            let marks = stream.lines.iter().map(|line| (line.talker, read_mark(&line.payload).map(|(_, n)| n)));
            let position = marks.into_iter().position(|mark| mark == (talker, Some(number)));
            return Err(match position {
                Some(position) if position > ahead => {
                    Violation::Skipped(format!("{}, {} too early", words(), position - ahead))
                }
                Some(position) if position == ahead => {
                    Violation::Wrong(format!("{}, but not as others got it", words()))
                }
                Some(_) | None => Violation::Repeated(words()),
            });
        }
        if number >= said {
            return Err(Violation::Wrong(format!("{}, of whom there are {said} lines", words())));
        }
        if ahead < stream.lines.len() {
            return Err(Violation::Skipped(format!("{}, but others got another line there", words())));
        }
        if number > *seen {
            return Err(Violation::Skipped(format!("{}, but {seen} was due", words())));
        }
        let seq = read_seq(payload);
        if let (Some(before), Some(seq)) = (stream.seq, seq)
            && seq != before + 1
        {
            return Err(Violation::Skipped(format!("{} with seq {seq} after {before}", words())));
        }
        stream.seq = seq;
        *seen += 1;
        places[at].1 += 1;
        *last = at;
        let time = times.pop_front().unwrap_or_default();
        if owner.is_some() {
            told.push_back((time, seq));
        }
        let (left, prompt_left) = (stream.readers - 1, stream.prompt_readers - u32::from(*prompt));
        stream.lines.push_back(Line { payload: payload.into(), time, talker, prompt_left, left });
        stream.forget();
        Ok(Heard::Line { time, talker, complete: *prompt && prompt_left == 0 })
    }

    /// Judges an acknowledgement that `reader` got. Returns when its line was said.
    ///
    /// # Errors
    /// When it should not have got that, or not now.
    pub(crate) fn hear_acknowledgement(&mut self, reader: usize, payload: &[u8]) -> Result<u64, Violation> {
        let id = find(payload, b"\"id\":\"").and_then(|at| read_digits(payload.get(at..at + MARK_BYTES - 1)?));
        let words = || format!("reader {reader} got {}", String::from_utf8_lossy(payload));
        let Some((talker, number)) = id else { return Err(Violation::Wrong(words())) };
        let talker = self.talkers.get_mut(talker).filter(|talker| talker.owner == Some(reader));
        let talker = talker.ok_or_else(|| Violation::Wrong(words()))?;
        match number.cmp(&talker.acknowledged) {
            Ordering::Less => return Err(Violation::Repeated(words())),
            Ordering::Equal => {}
            Ordering::Greater => return Err(Violation::Skipped(words())),
        }
        let Some((time, seq)) = talker.told.pop_front() else {
            return Err(Violation::Wrong(format!("{} before its line", words())));
        };
        if seq != read_seq(payload) {
            return Err(Violation::Wrong(format!("{}, but its line has {seq:?}", words())));
        }
        talker.acknowledged += 1;
        Ok(time)
    }

    /// Judges the end: everybody must have got every line that was said, and whoever waits for acknowledgements all of them.
    ///
    /// # Errors
    /// When somebody has not.
    pub(crate) fn finish(&self) -> Result<(), Violation> {
        for (number, talker) in self.talkers.iter().enumerate() {
            if talker.seen < talker.said {
                let words = format!("nobody got line {} of talker {number}, who said {}", talker.seen, talker.said);
                return Err(Violation::Missing(words));
            }
            if talker.owner.is_some() && talker.acknowledged < talker.said {
                let words =
                    format!("{} of {} lines of talker {number} are acknowledged", talker.acknowledged, talker.said);
                return Err(Violation::Missing(words));
            }
        }
        for (number, reader) in self.readers.iter().enumerate() {
            for &(stream, place) in &reader.places {
                let end = self.streams[stream].end();
                if place < end {
                    let words = format!("reader {number} got {place} of {end} lines of room {stream}");
                    return Err(Violation::Missing(words));
                }
            }
        }
        Ok(())
    }
}

impl Stream {
    fn end(&self) -> u64 {
        self.begin + self.lines.len() as u64
    }

    /// Forgets what everybody has.
    fn forget(&mut self) {
        while self.lines.front().is_some_and(|line| line.left == 0) {
            self.lines.pop_front();
            self.begin += 1;
        }
    }
}

/// Who says a line, and the how-manieth it is of theirs; `None` for what is no line of ours.
fn read_mark(payload: &[u8]) -> Option<(usize, u32)> {
    let at = payload.iter().position(|&byte| byte == MARK)?;
    read_digits(payload.get(at + 1..at + MARK_BYTES)?)
}

/// The same, from the digits of a mark.
fn read_digits(mark: &[u8]) -> Option<(usize, u32)> {
    let digits = |digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    Some((digits(&mark[..8])? as usize, digits(&mark[8..])?))
}

/// Where what stands behind `key` begins.
fn find(payload: &[u8], key: &[u8]) -> Option<usize> {
    Some(payload.windows(key.len()).position(|window| window == key)? + key.len())
}

/// The last number called `seq` in a frame; the words of a message have no quotes.
fn read_seq(payload: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"seq\":";
    let at = payload.windows(KEY.len()).rposition(|window| window == KEY)? + KEY.len();
    let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn write_hex(out: &mut [u8], mut number: u32) {
    for byte in out.iter_mut().rev() {
        *byte = b"0123456789abcdef"[number as usize & 15];
        number >>= 4;
    }
}

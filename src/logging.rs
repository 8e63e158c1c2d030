//! Logging that cannot stop the loop: lines go through a bounded channel to a thread that writes them to standard
//! error.
//!
//! A full pipe or a stopped terminal stops that thread only. What then does not fit in the channel is dropped and
//! counted, and once writing works again a line says how many are missing. A standard error that is gone changes
//! nothing. One record is one line, whatever is in it: control characters are escaped, long lines cut.
//!
//! What is logged is the callers' affair; by the project's rule it is never what people say.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{backtrace, panic, thread};

use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, LevelPadding, WriteLogger, format_description};

/// Lines that may wait to be written: a second of a storm of connections. With [`LINE_BYTES_MAX`] it bounds the memory.
const LINES_MAX: usize = 4096;

/// Bytes of a line; what is longer is cut. Our own lines are short, but they may quote a client's words (a path).
const LINE_BYTES_MAX: usize = 2048;

/// How long the writer rests after it wrote all there was. While it rests, a new line need not wake it, which would
/// cost the loop a system call for each line.
const REST: Duration = Duration::from_millis(5);

/// How long the end of the program waits for what is not written yet.
const FLUSH: Duration = Duration::from_millis(500);

/// Lives as long as `main`; when it is dropped, lines that wait get half a second to be written.
pub struct LogGuard {
    shared: Arc<Shared>,
}

/// Starts logging to standard error at `level`, ours only: `chinwag`'s modules. A panic is logged as an error too,
/// since its usual way, straight to standard error, may block for ever.
///
/// # Errors
/// When there is a logger already, or no thread can be started.
pub fn start(level: LevelFilter) -> io::Result<LogGuard> {
    // A descriptor of its own: through `std::io::stderr` a blocked writer would hold the lock that others need.
    let standard_error = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let logger = Logger::new(level, "chinwag", LINES_MAX, standard_error)?;
    let guard = LogGuard { shared: Arc::clone(&logger.shared) };
    log::set_boxed_logger(Box::new(logger)).map_err(io::Error::other)?;
    log::set_max_level(level);
    panic::set_hook(Box::new(log_panic));
    Ok(guard)
}

impl LogGuard {
    /// Waits until the lines logged so far are written, or lost, or `patience` ends. Returns whether they are.
    pub fn flush(&self, patience: Duration) -> bool {
        self.shared.flush(patience)
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.flush(FLUSH);
    }
}

/// A panic as lines of the log, with the backtrace where `RUST_BACKTRACE` asks for it.
fn log_panic(info: &PanicHookInfo<'_>) {
    log::error!("{info}");
    let trace = backtrace::Backtrace::capture();
    if trace.status() == backtrace::BacktraceStatus::Captured {
        for line in trace.to_string().lines() {
            log::error!("{line}");
        }
    }
}

/// What the loop's side and the writer's side both see.
#[derive(Default)]
struct Shared {
    /// Lines that did not fit or could not be written, not yet told.
    dropped: AtomicU64,
    /// Lines that were handed to the writer.
    sent: AtomicU64,
    /// How many of those it has dealt with.
    done: Mutex<u64>,
    done_more: Condvar,
}

impl Shared {
    fn flush(&self, patience: Duration) -> bool {
        let sent = self.sent.load(Ordering::SeqCst);
        let done = locked(&self.done);
        let wait = self.done_more.wait_timeout_while(done, patience, |done| *done < sent);
        *wait.unwrap_or_else(PoisonError::into_inner).0 >= sent
    }
}

/// A lock whose data are sound even if a holder panicked.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line on its way to the writer.
struct Line {
    /// How many were dropped just before this one.
    dropped_before: u64,
    text: String,
}

/// The loop's side. `simplelog` formats a record into the [`LineSender`], and flushing that sends the line.
struct Logger {
    format: Box<WriteLogger<LineSender>>,
    /// Held from a record's first byte to its last, so that two threads' records do not mix.
    one_at_a_time: Mutex<()>,
    shared: Arc<Shared>,
}

impl Logger {
    /// Starts the writer's thread, which ends when the logger is dropped and all is written.
    fn new(
        level: LevelFilter,
        target: &'static str,
        lines_max: usize,
        sink: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (lines, receiver) = sync_channel(lines_max);
        let writer = Writer { sink, receiver, shared: Arc::clone(&shared) };
        thread::Builder::new().name("log".into()).spawn(move || writer.run())?;
        let config = ConfigBuilder::new()
            .set_time_format_custom(format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
            ))
            .set_level_padding(LevelPadding::Right)
            .set_target_level(LevelFilter::Off)
            .set_thread_level(LevelFilter::Off)
            .set_location_level(LevelFilter::Off)
            .add_filter_allow_str(target)
            .build();
        let sender = LineSender { text: Vec::new(), lines, shared: Arc::clone(&shared) };
        Ok(Self { format: WriteLogger::new(level, config, sender), one_at_a_time: Mutex::new(()), shared })
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.format.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let _one = locked(&self.one_at_a_time);
        self.format.log(record);
        self.format.flush();
    }

    fn flush(&self) {
        self.shared.flush(FLUSH);
    }
}

/// Gathers the pieces of a record. Writing to it never fails and never waits.
struct LineSender {
    text: Vec<u8>,
    lines: SyncSender<Line>,
    shared: Arc<Shared>,
}

impl Write for LineSender {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        // A little over the limit, so that it can be seen that something was cut; the end is cut off in `flush`.
        let room = (LINE_BYTES_MAX + 8).saturating_sub(self.text.len());
        self.text.extend_from_slice(&piece[..piece.len().min(room)]);
        Ok(piece.len())
    }

    /// Sends what was gathered as one line.
    fn flush(&mut self) -> io::Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        let text = one_line(&self.text);
        self.text.clear();
        let dropped_before = self.shared.dropped.swap(0, Ordering::SeqCst);
        match self.lines.try_send(Line { dropped_before, text }) {
            Ok(()) => self.shared.sent.fetch_add(1, Ordering::SeqCst),
            Err(_) => self.shared.dropped.fetch_add(dropped_before + 1, Ordering::SeqCst),
        };
        Ok(())
    }
}

/// A record's bytes as one line: cut to size, control characters escaped (a client's words must not move the cursor of
/// the terminal that shows them, nor look like a record of their own).
fn one_line(record: &[u8]) -> String {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    let cut = record.len() > LINE_BYTES_MAX;
    let text = String::from_utf8_lossy(&record[..record.len().min(LINE_BYTES_MAX)]);
    let mut line = String::with_capacity(text.len() + 4);
    for char in text.chars() {
        if char.is_control() { line.extend(char.escape_default()) } else { line.push(char) }
    }
    line.push_str(if cut { "…\n" } else { "\n" });
    line
}

/// The writer's side: the one place that waits for standard error.
struct Writer<W> {
    sink: W,
    receiver: Receiver<Line>,
    shared: Arc<Shared>,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        while let Ok(line) = self.receiver.recv() {
            self.take(&line);
            loop {
                match self.receiver.try_recv() {
                    Ok(line) => self.take(&line),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let dropped = self.shared.dropped.swap(0, Ordering::SeqCst);
            self.tell_dropped(dropped);
            thread::sleep(REST);
        }
    }

    /// Writes a line. One that cannot be written is lost and counted: standard error is closed, and if it ever
    /// comes back the count will be told.
    fn take(&mut self, line: &Line) {
        self.tell_dropped(line.dropped_before);
        if self.write(line.text.as_bytes()).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::SeqCst);
        }
        *locked(&self.shared.done) += 1;
        self.shared.done_more.notify_all();
    }

    fn tell_dropped(&mut self, dropped: u64) {
        if dropped > 0 && self.write(format!("[WARN ] log lines missing here: {dropped}\n").as_bytes()).is_err() {
            self.shared.dropped.fetch_add(dropped, Ordering::SeqCst);
        }
    }

    /// As `write_all`, and patient with a descriptor that somebody set to non-blocking (a terminal is shared).
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.sink.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(REST),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use log::Level;

    use super::*;

    /// Long enough that only a lost wake-up reaches it.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A sink under the test's control: it says that a write came, waits for the gate, and says that it wrote.
    #[derive(Clone, Default)]
    struct Sink {
        written: Arc<Mutex<Vec<u8>>>,
        closed: Arc<(Mutex<bool>, Condvar)>,
        events: Option<mpsc::Sender<()>>,
        /// What the next writes answer instead of writing.
        errors: Arc<Mutex<Vec<io::ErrorKind>>>,
        bytes_a_write: Option<usize>,
    }

    impl Sink {
        fn set_closed(&self, closed: bool) {
            *self.closed.0.lock().unwrap() = closed;
            self.closed.1.notify_all();
        }

        /// The lines without the time: `[INFO ] text`.
        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.written.lock().unwrap().clone()).unwrap();
            assert!(text.is_empty() || text.ends_with('\n'));
            text.lines().map(|line| line[line.find('[').unwrap()..].to_owned()).collect()
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(events) = &self.events {
                let _ = events.send(());
            }
            drop(self.closed.1.wait_while(self.closed.0.lock().unwrap(), |closed| *closed).unwrap());
            if let Some(kind) = self.errors.lock().unwrap().pop() {
                return Err(kind.into());
            }
            let taken = bytes.len().min(self.bytes_a_write.unwrap_or(usize::MAX));
            self.written.lock().unwrap().extend_from_slice(&bytes[..taken]);
            if let Some(events) = &self.events {
                let _ = events.send(());
            }
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logger(lines_max: usize, sink: &Sink) -> Logger {
        Logger::new(LevelFilter::Info, "chinwag", lines_max, sink.clone()).unwrap()
    }

    fn say(logger: &Logger, text: &str) {
        say_as(logger, Level::Info, "chinwag::engine", text);
    }

    fn say_as(logger: &Logger, level: Level, target: &str, text: &str) {
        logger.log(&Record::builder().level(level).target(target).args(format_args!("{text}")).build());
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let sink = Sink { bytes_a_write: Some(7), ..Sink::default() };
        let logger = logger(4096, &sink);
        for number in 0..1_000 {
            say(&logger, &format!("line {number}"));
        }
        assert!(logger.shared.flush(PATIENCE));
        assert_eq!(sink.lines(), (0..1_000).map(|number| format!("[INFO ] line {number}")).collect::<Vec<_>>());
        let text = String::from_utf8(sink.written.lock().unwrap().clone()).unwrap();
        let time: String = text[..24].chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
        assert_eq!(time, "0000-00-00T00:00:00.000Z", "UTC, RFC 3339, in milliseconds");
    }

    #[test]
    fn a_writer_that_is_stuck_stops_nobody_and_what_is_missing_is_told() {
        let (sender, events) = mpsc::channel();
        let sink = Sink { events: Some(sender), ..Sink::default() };
        sink.set_closed(true);
        let logger = logger(4, &sink);
        say(&logger, "first");
        events.recv_timeout(PATIENCE).unwrap();
        // The writer holds one line and four wait: the rest is dropped, at once.
        for number in 0..10 {
            say(&logger, &format!("line {number}"));
        }
        assert_eq!(logger.shared.dropped.load(Ordering::SeqCst), 6);
        assert!(!logger.shared.flush(Duration::from_millis(1)), "a flush does not wait for ever");
        sink.set_closed(false);
        assert!(logger.shared.flush(PATIENCE));
        say(&logger, "later");
        assert!(logger.shared.flush(PATIENCE));
        assert_eq!(
            sink.lines(),
            [
                "[INFO ] first",
                "[INFO ] line 0",
                "[INFO ] line 1",
                "[INFO ] line 2",
                "[INFO ] line 3",
                "[WARN ] log lines missing here: 6",
                "[INFO ] later"
            ]
        );
    }

    #[test]
    fn what_is_missing_is_told_though_nothing_is_logged_any_more() {
        let (sender, events) = mpsc::channel();
        let sink = Sink { events: Some(sender), ..Sink::default() };
        sink.set_closed(true);
        let logger = logger(1, &sink);
        say(&logger, "kept");
        events.recv_timeout(PATIENCE).unwrap();
        say(&logger, "kept");
        say(&logger, "dropped");
        sink.set_closed(false);
        while !sink.lines().iter().any(|line| line == "[WARN ] log lines missing here: 1") {
            events.recv_timeout(PATIENCE).expect("the count is written");
        }
    }

    #[test]
    fn a_sink_that_fails_loses_lines_and_kills_nobody() {
        let sink = Sink::default();
        *sink.errors.lock().unwrap() = vec![io::ErrorKind::BrokenPipe; 3];
        let logger = logger(4096, &sink);
        for text in ["lost", "lost", "lost", "there"] {
            // Each of the first three meets an error at least once, itself or in the count that is told before it.
            say(&logger, text);
            assert!(logger.shared.flush(PATIENCE));
        }
        say(&logger, "end");
        assert!(logger.shared.flush(PATIENCE));
        let lines = sink.lines();
        assert_eq!(lines.last().unwrap(), "[INFO ] end");
        assert!(lines.iter().any(|line| line.contains("log lines missing here")), "{lines:?}");
    }

    #[test]
    fn a_sink_that_would_block_is_tried_again() {
        let sink = Sink { bytes_a_write: Some(20), ..Sink::default() };
        *sink.errors.lock().unwrap() =
            vec![io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock];
        let logger = logger(4, &sink);
        say(&logger, "whole");
        assert!(logger.shared.flush(PATIENCE));
        assert_eq!(sink.lines(), ["[INFO ] whole"]);
    }

    #[test]
    fn only_our_own_lines_of_the_level_are_written() {
        let sink = Sink::default();
        let logger = logger(16, &sink);
        say_as(&logger, Level::Debug, "chinwag", "too fine");
        say_as(&logger, Level::Error, "tungstenite::protocol", "not ours");
        say_as(&logger, Level::Error, "chinwag", "ours");
        assert!(logger.shared.flush(PATIENCE));
        assert_eq!(sink.lines(), ["[ERROR] ours"]);
    }

    #[test]
    fn a_record_is_one_line_whatever_is_in_it() {
        assert_eq!(one_line(b"a\nb\x1b[2J\tc\n"), "a\\nb\\u{1b}[2J\\tc\n");
        assert_eq!(one_line("Gr\u{fc}\u{df}e\u{85}\n".as_bytes()), "Gr\u{fc}\u{df}e\\u{85}\n");
        let long = "\u{e9}".repeat(LINE_BYTES_MAX);
        let line = one_line(long.as_bytes());
        assert!(line.ends_with("…\n") && line.len() <= LINE_BYTES_MAX + 8, "{}", line.len());
        let sink = Sink::default();
        let logger = logger(16, &sink);
        say(&logger, &long);
        say(&logger, "two\nlines");
        assert!(logger.shared.flush(PATIENCE));
        assert_eq!(sink.lines().len(), 2);
        assert_eq!(sink.lines()[1], "[INFO ] two\\nlines");
    }
}

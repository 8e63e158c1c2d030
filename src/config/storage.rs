//! The flags that say what is kept, and where.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::flags::{size, whole};
use super::{Disk, History, Memory};
use crate::chat::ids::Millis;
use crate::store::{Retention, SyncPolicy};

/// What `--store` is called that keeps nothing on a disk.
const MEMORY: &str = "memory";

/// How long a commit may be without a sync at most: an hour. What loses more is no log.
const SYNC_MS_MAX: Millis = 3_600_000;

#[derive(Args)]
pub(super) struct StorageFlags {
    #[arg(
        long,
        value_name = "PATH|memory",
        value_parser = OsStringValueParser::new().try_map(Place::parse),
        default_value = Disk::FILE,
        help = "Keep the history in this file, or in memory only, and forget it at the end"
    )]
    store: Place,
    #[arg(
        long,
        value_name = "full|interval=MS",
        value_parser = sync,
        help = "A line is acknowledged when it is synced (full), or when it is committed, and synced so much later at most \
            [default: full]"
    )]
    sync: Option<SyncPolicy>,
    #[arg(
        long,
        value_name = "N",
        value_parser = whole(0..=1 << 53),
        help = "Lines kept of each room; 0: all [default: 100000]"
    )]
    keep_messages: Option<u64>,
    #[arg(
        long,
        value_name = "DAYS",
        value_parser = whole(0..=36_500),
        help = "Days that a line is kept; 0: for ever [default: 0]"
    )]
    keep_days: Option<u64>,
    #[arg(
        long,
        value_name = "BYTES",
        value_parser = whole(0..=1 << 50),
        help = "Of the file, without what is free in it; the largest rooms lose their oldest lines; 0: no limit \
            [default: 4294967296]"
    )]
    keep_bytes: Option<u64>,
    /// Lines of each room in memory; with --store memory, all that are kept
    #[arg(
        long, value_name = "N", value_parser = size(1..=1 << 30),
        default_value_t = Memory::DEFAULT.recent_messages_max
    )]
    recent_messages: usize,
    /// Lines of all rooms in memory; the fullest loses its oldest
    #[arg(
        long, value_name = "BYTES", value_parser = size(1..=1 << 40),
        default_value_t = Memory::DEFAULT.recent_bytes_max
    )]
    recent_bytes: usize,
    /// Rooms at a time
    #[arg(long, value_name = "N", value_parser = size(1..=1 << 30), default_value_t = Memory::DEFAULT.rooms_max)]
    rooms_max: usize,
}

/// What `--store` says.
#[derive(Clone)]
enum Place {
    Memory,
    File(PathBuf),
}

impl Place {
    fn parse(text: impl AsRef<OsStr>) -> Result<Self, &'static str> {
        let text = text.as_ref();
        if text == MEMORY {
            Ok(Self::Memory)
        } else if text.is_empty() {
            Err("a file's path is wanted, or the word memory")
        } else {
            Ok(Self::File(text.into()))
        }
    }
}

impl StorageFlags {
    /// # Errors
    /// When a flag is there that means nothing in memory: what is not kept longer than a week by `--keep-days 7` must not be
    /// kept for longer in silence.
    pub(super) fn into_parts(self) -> Result<(History, Memory), String> {
        let Self { store, sync, keep_messages, keep_days, keep_bytes, .. } = self;
        let memory = Memory {
            recent_messages_max: self.recent_messages,
            recent_bytes_max: self.recent_bytes,
            rooms_max: self.rooms_max,
        };
        let path = match store {
            Place::File(path) => path,
            Place::Memory => {
                let given = [
                    ("--sync", sync.is_some()),
                    ("--keep-messages", keep_messages.is_some()),
                    ("--keep-days", keep_days.is_some()),
                    ("--keep-bytes", keep_bytes.is_some()),
                ];
                return match given.into_iter().find(|(_, is_given)| *is_given) {
                    None => Ok((History::Memory, memory)),
                    Some((flag, _)) => Err(format!("{flag} is for a store in a file, not for --store memory")),
                };
            }
        };
        let or_all = |most: u64| if most == 0 { u64::MAX } else { most };
        let default = Retention::default();
        let retention = Retention {
            messages_max: keep_messages.map_or(default.messages_max, or_all),
            days_max: keep_days.unwrap_or(default.days_max),
            bytes_max: keep_bytes.map_or(default.bytes_max, or_all),
        };
        Ok((History::Disk(Disk { path, sync: sync.unwrap_or(SyncPolicy::Full), retention }), memory))
    }
}

/// Reads what `--sync` says.
fn sync(text: &str) -> Result<SyncPolicy, String> {
    if text == "full" {
        return Ok(SyncPolicy::Full);
    }
    let interval_ms = text.strip_prefix("interval=").and_then(|number| number.parse().ok());
    match interval_ms.filter(|ms| (1..=SYNC_MS_MAX).contains(ms)) {
        Some(ms) => Ok(SyncPolicy::Interval(ms)),
        None => Err(format!("full is wanted, or interval= and a whole number of milliseconds from 1 to {SYNC_MS_MAX}")),
    }
}

/// For the line that says that the server runs.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("history in memory"),
            Self::Disk(Disk { path, sync, .. }) => {
                write!(f, "history in {}, synced", path.display())?;
                if let SyncPolicy::Interval(ms) = sync { write!(f, " every {ms} ms") } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Config};
    use super::*;

    fn parse(line: &str) -> Result<Config, clap::Error> {
        match Command::from_args(["chinwag"].into_iter().chain(line.split(' ')))? {
            Command::Serve(config) => Ok(config),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn disk(line: &str) -> Disk {
        match parse(line).expect(line).history {
            History::Disk(disk) => disk,
            History::Memory => panic!("{line}: in memory"),
        }
    }

    fn error(line: &str) -> String {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
        error.to_string()
    }

    #[test]
    fn history_is_kept_in_chinwag_db_unless_something_else_is_said() {
        assert_eq!(disk("--lang en").path, PathBuf::from("chinwag.db"));
        assert_eq!(disk("--store /a/b.db").path, PathBuf::from("/a/b.db"));
        assert_eq!(disk("--store ./memory").path, PathBuf::from("./memory"));
        assert_eq!(parse("--store memory").expect("a word").history, History::Memory);
        assert!(error("--store=").contains("--store"));
    }

    #[test]
    fn what_is_kept_has_limits_and_0_lifts_them() {
        assert_eq!(disk("--lang en").retention, Retention::default());
        let some = disk("--keep-messages 7 --keep-days 8 --keep-bytes 9000000").retention;
        assert_eq!(some, Retention { messages_max: 7, days_max: 8, bytes_max: 9_000_000 });
        let all = disk("--keep-messages 0 --keep-days 0 --keep-bytes 0").retention;
        assert_eq!(all, Retention { messages_max: u64::MAX, days_max: 0, bytes_max: u64::MAX });
    }

    #[test]
    fn it_is_said_where_the_history_is() {
        for (line, words) in [
            ("--store memory", "history in memory"),
            ("--lang en", "history in chinwag.db, synced"),
            ("--store /a/b.db --sync full", "history in /a/b.db, synced"),
            ("--sync interval=200", "history in chinwag.db, synced every 200 ms"),
        ] {
            assert_eq!(parse(line).expect(line).history.to_string(), words);
        }
    }

    #[test]
    fn what_means_nothing_in_memory_is_refused_there() {
        for flag in ["--sync full", "--keep-messages 1", "--keep-days 7", "--keep-bytes 9000000"] {
            let text = error(&format!("--store memory {flag}"));
            assert!(text.contains(flag.split(' ').next().expect("a flag")), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_the_error_names_the_flag() {
        for (flag, bad) in [
            ("--sync", "interval interval= interval=0 interval=3600001 interval=1s none 200"),
            ("--keep-messages", "-1 x 9007199254740993"),
            ("--keep-days", "-1 36501 7d"),
            ("--keep-bytes", "1 1048575 4G 1125899906842625"),
        ] {
            for value in bad.split(' ') {
                let text = error(&format!("{flag}={value}"));
                assert!(text.contains(flag), "{flag}={value}: {text}");
            }
        }
    }
}

//! The flags of `chinwag history`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::chat::RoomName;
use crate::history::{Format, Task, Words};

/// What `chinwag history --help` ends with.
pub(super) const EXAMPLES: &str = "\
Examples:
  chinwag history verify                                is everything as it was written?
  chinwag history export >backup.jsonl                  all that was said, private messages too
  chinwag history export --room tea --format text | less
  chinwag history import backup.jsonl --store new.db    into a new store, or one without its rooms
  chinwag history stats --store /var/lib/chinwag/chinwag.db

All but import may be used while a server runs, and leave the store as it is; import is refused then. The exit code is 0 if all \
is well, 1 if something is damaged or cannot be done.

An export has what was said, and not the key by which the server knows its users: those who come back to an imported store come as \
somebody new. To move a server with its users, stop it and copy the file itself.";

#[derive(Args)]
pub(super) struct HistoryFlags {
    #[command(subcommand)]
    word: Word,
}

#[derive(Subcommand)]
enum Word {
    /// Check every message's checksum, that none is missing, and the file by SQLite's own check
    Verify {
        #[command(flatten)]
        store: StoreFlag,
    },
    /// Write messages to standard output, one a line
    #[command(
        after_help = "Without --room it is all of the rooms and the private messages too: a backup must be whole. \
        Keep it as you keep letters. With a server running, each room is written up to the message that is the newest when its turn comes."
    )]
    Export {
        #[command(flatten)]
        store: StoreFlag,
        /// Only this room, or this stream of private messages (@ and a user's id)
        #[arg(long, value_name = "ROOM", value_parser = room)]
        room: Option<RoomName>,
        /// json, with everything, for import; or text, as chinwag connect shows it
        #[arg(long, value_name = "FORMAT", value_enum, hide_possible_values = true, default_value_t = Spelling::Json)]
        format: Spelling,
    },
    /// Put exported messages into a store: all of them or, if one line is wrong, none
    #[command(
        after_help = "The store is made if it is not there. Rooms of which it has messages already are refused. No server may \
        use it meanwhile. Messages keep their places; where some are missing between others, what follows moves up."
    )]
    Import {
        #[command(flatten)]
        store: StoreFlag,
        /// What chinwag history export --format json has written; - for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Count rooms, messages and bytes
    Stats {
        #[command(flatten)]
        store: StoreFlag,
        /// text, for people; or json, for programs
        #[arg(long, value_name = "FORMAT", value_enum, hide_possible_values = true, default_value_t = Spelling::Text)]
        format: Spelling,
    },
}

#[derive(Args)]
struct StoreFlag {
    /// The file
    #[arg(long, value_name = "PATH", default_value = "chinwag.db")]
    store: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Spelling {
    Json,
    Text,
}

impl HistoryFlags {
    pub(super) fn into_task(self) -> Task {
        let (StoreFlag { store }, words) = match self.word {
            Word::Verify { store } => (store, Words::Verify),
            Word::Export { store, room, format } => (store, Words::Export { room, format: format.into() }),
            Word::Import { store, file } => (store, Words::Import { file: (file.as_os_str() != "-").then_some(file) }),
            Word::Stats { store, format } => (store, Words::Stats { format: format.into() }),
        };
        Task { store, words }
    }
}

impl From<Spelling> for Format {
    fn from(spelling: Spelling) -> Self {
        match spelling {
            Spelling::Json => Self::Json,
            Spelling::Text => Self::Text,
        }
    }
}

fn room(text: &str) -> Result<RoomName, String> {
    RoomName::kept(text)
        .ok_or_else(|| "1 to 64 letters, digits, '-', '_' and '.' are wanted, or '@' and a user's id".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::*;

    fn parse(line: &[&str]) -> Result<Command, clap::Error> {
        Command::from_args(["chinwag", "history"].iter().chain(line))
    }

    fn task(line: &[&str]) -> Task {
        match parse(line) {
            Ok(Command::History(task)) => task,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn each_word_and_its_flags_are_understood() {
        let store = PathBuf::from("chinwag.db");
        assert_eq!(task(&["verify"]), Task { store: store.clone(), words: Words::Verify });
        let all = Words::Export { room: None, format: Format::Json };
        assert_eq!(task(&["export", "--store", "x"]), Task { store: "x".into(), words: all });
        let tea = Words::Export { room: RoomName::parse("tea"), format: Format::Text };
        assert_eq!(task(&["export", "--room", "tea", "--format", "text"]).words, tea);
        assert_eq!(task(&["import", "a.jsonl"]).words, Words::Import { file: Some("a.jsonl".into()) });
        assert_eq!(task(&["import", "-"]).words, Words::Import { file: None });
        assert_eq!(task(&["stats"]), Task { store, words: Words::Stats { format: Format::Text } });
        assert_eq!(task(&["stats", "--format", "json"]).words, Words::Stats { format: Format::Json });
    }

    #[test]
    fn a_mistake_is_named_and_the_exit_code_is_2() {
        for (line, named) in [
            (&[][..], "verify"),
            (&["nonsense"], "nonsense"),
            (&["export", "--room", "a b"], "--room"),
            (&["export", "--room", "@me"], "--room"),
            (&["export", "--format", "xml"], "--format"),
            (&["import"], "FILE"),
            (&["verify", "--room", "tea"], "--room"),
        ] {
            let error = parse(line).expect_err("a mistake");
            assert_eq!(error.exit_code(), 2, "{error}");
            assert!(error.to_string().contains(named), "{line:?}: {error}");
        }
    }

    #[test]
    fn the_manual_and_completions_know_it() {
        let printed = |line: &[&str]| match Command::from_args(["chinwag"].iter().chain(line)) {
            Ok(Command::Print(text)) => String::from_utf8(text).unwrap(),
            other => panic!("{line:?}: {other:?}"),
        };
        assert!(printed(&["man", "history"]).contains("chinwag\\-history\\-verify(1)"));
        assert!(printed(&["man", "history-export"]).contains("\\-\\-room"));
        assert!(printed(&["completions", "bash"]).contains("chinwag__subcmd__history__subcmd__export"));
    }
}

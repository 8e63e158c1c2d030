//! The command line: `chinwag [FLAGS]` and `chinwag serve [FLAGS]`, which are the same, and `chinwag connect` with flags of its
//! own ([`connect`]), and `chinwag history` with commands of its own ([`history`]). Flags stand after the command; before it they are refused, so that none is ever silently ignored.
//!
//! The limits of each value are checked here, and its error names the flag; the rules between values are
//! [`Config::check`]'s.

use std::ffi::OsString;
use std::ops::RangeInclusive;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use log::LevelFilter;

use super::connect::{self, ConnectFlags, Page, Shell};
use super::history::{self, HistoryFlags};
use super::storage::StorageFlags;
use super::{Command, Config, Deadlines, Limits, Listen, Rate, listen};
use crate::chat::ids::Millis;
use crate::wire::encode::Lang;

const EXAMPLES: &str = "\
Examples:
  chinwag                                     for this machine only
  chinwag --listen 0.0.0.0:8765               for everyone who can reach this machine
  chinwag --listen 127.0.0.1:0 --log debug    a port that is free, and much to read
  chinwag --rate 10 --burst 20 --lang zh      stricter, and in Chinese
  chinwag --store /var/lib/chinwag/chat.db    the history in this file, not in ./chinwag.db
  chinwag --store memory                      no history after the end
  chinwag connect --name ann                  and in another terminal: chat

Sizes are in bytes and times in milliseconds. SIGINT (Ctrl-C) or SIGTERM says goodbye to everyone and stops; \
a second one stops at once.";

#[derive(Parser)]
#[command(
    name = "chinwag",
    version,
    about = "A chat server: people who connect by WebSocket talk to each other in rooms.",
    after_help = EXAMPLES,
    propagate_version = true,
    args_conflicts_with_subcommands = true,
    allow_negative_numbers = true,
    disable_help_subcommand = true,
    // Wide enough that a flag and its text share a line, narrow enough to read.
    max_term_width = 120
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Word>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Subcommand)]
enum Word {
    /// Run the server (what happens without a command, too)
    #[command(after_help = EXAMPLES, allow_negative_numbers = true)]
    Serve(Box<Flags>),
    /// Chat from a terminal, or pipe lines into a room and out of it
    #[command(after_help = connect::EXAMPLES)]
    Connect(ConnectFlags),
    /// Look after what is kept: check it, copy it out, put it in, count it
    #[command(after_help = history::EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
    History(HistoryFlags),
    /// Print what makes a shell complete the flags: bash, zsh or fish
    #[command(after_help = "For example in ~/.bashrc: source <(chinwag completions bash)")]
    Completions {
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print a page of the manual
    #[command(after_help = "For example: chinwag man connect | man -l -")]
    Man {
        /// The command that it is about [default: all of it]
        #[arg(value_name = "COMMAND")]
        page: Option<Page>,
    },
}

#[derive(Args)]
struct Flags {
    #[command(flatten, next_help_heading = "Network")]
    network: NetworkFlags,
    #[command(flatten, next_help_heading = "Limits")]
    limits: LimitFlags,
    #[command(flatten, next_help_heading = "Deadlines")]
    deadlines: DeadlineFlags,
    #[command(flatten, next_help_heading = "Storage")]
    storage: StorageFlags,
    #[command(flatten, next_help_heading = "Output")]
    output: OutputFlags,
}

#[derive(Args)]
struct NetworkFlags {
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_parser = listen::parse,
        help = "Accept here; may be given several times; port 0: any free one \
            [default: 127.0.0.1:8765, and [::1]:8765 where there is IPv6]"
    )]
    listen: Vec<Vec<Listen>>,
    /// Connections at a time; 0: as many as files may be open
    #[arg(long, value_name = "N", value_parser = size(0..=1 << 24), default_value_t = Limits::DEFAULT.connections_max)]
    connections_max: usize,
}

#[derive(Args)]
struct LimitFlags {
    /// The longest message a client may send
    #[arg(
        long, value_name = "BYTES", value_parser = size(1..=16 << 20),
        default_value_t = Limits::DEFAULT.message_bytes_max
    )]
    message_bytes: usize,
    /// The longest head of an HTTP request
    #[arg(
        long, value_name = "BYTES", value_parser = size(256..=1 << 20),
        default_value_t = Limits::DEFAULT.head_bytes_max
    )]
    head_bytes: usize,
    /// Headers of an HTTP request
    #[arg(long, value_name = "N", value_parser = size(1..=1_000), default_value_t = Limits::DEFAULT.headers_max)]
    headers_max: usize,
    /// Characters of a name
    #[arg(long, value_name = "N", value_parser = size(1..=256), default_value_t = Limits::DEFAULT.name_chars_max)]
    name_chars: usize,
    /// Rooms that one user may be in
    #[arg(
        long, value_name = "N", value_parser = size(1..=65_536),
        default_value_t = Limits::DEFAULT.rooms_per_connection_max
    )]
    rooms_per_connection: usize,
    /// What may wait for one reader; past it, it is closed
    #[arg(
        long, value_name = "BYTES", value_parser = size(1..=1 << 40),
        default_value_t = Limits::DEFAULT.outbox_bytes_max
    )]
    outbox_bytes: usize,
    /// The same for all readers; those with most are closed
    #[arg(
        long, value_name = "BYTES", value_parser = size(1..=1 << 40),
        default_value_t = Limits::DEFAULT.outboxes_bytes_max
    )]
    outboxes_bytes: usize,
    /// Requests a second of a connection; more wait; 0: no limit
    #[arg(
        long, value_name = "N", value_parser = tokens(0..=1_000_000),
        default_value_t = Rate::DEFAULT.tokens_per_second
    )]
    rate: u32,
    /// Requests at once, after a rest
    #[arg(long, value_name = "N", value_parser = tokens(0..=1_000_000), default_value_t = Rate::DEFAULT.burst_tokens)]
    burst: u32,
}

/// A day: what takes longer is no deadline.
const DEADLINE_MS: RangeInclusive<u64> = 1..=86_400_000;

#[derive(Args)]
struct DeadlineFlags {
    /// For the head of an HTTP request to come
    #[arg(long, value_name = "MS", value_parser = millis(DEADLINE_MS), default_value_t = Deadlines::DEFAULT.head_ms)]
    head_ms: Millis,
    /// For the hello of a chinwag.v1 client to come
    #[arg(long, value_name = "MS", value_parser = millis(DEADLINE_MS), default_value_t = Deadlines::DEFAULT.hello_ms)]
    hello_ms: Millis,
    /// For a chinwag.v1 user to come back before others are told
    #[arg(long, value_name = "MS", value_parser = millis(DEADLINE_MS), default_value_t = Deadlines::DEFAULT.grace_ms)]
    grace_ms: Millis,
    /// Silence after which a Ping is sent
    #[arg(long, value_name = "MS", value_parser = millis(DEADLINE_MS), default_value_t = Deadlines::DEFAULT.ping_ms)]
    ping_ms: Millis,
    /// Silence after which a connection is closed
    #[arg(long, value_name = "MS", value_parser = millis(DEADLINE_MS), default_value_t = Deadlines::DEFAULT.silence_ms)]
    silence_ms: Millis,
    /// For a reader to take some of what waits for it
    #[arg(
        long, value_name = "MS", value_parser = millis(DEADLINE_MS),
        default_value_t = Deadlines::DEFAULT.write_stall_ms
    )]
    write_stall_ms: Millis,
    /// For the peer to answer a Close
    #[arg(long, value_name = "MS", value_parser = millis(DEADLINE_MS), default_value_t = Deadlines::DEFAULT.close_ms)]
    close_ms: Millis,
    /// For everything, after SIGINT or SIGTERM
    #[arg(
        long, alias = "drain-ms", value_name = "MS", value_parser = millis(DEADLINE_MS),
        default_value_t = Deadlines::DEFAULT.drain_ms
    )]
    drain: Millis,
    /// What clients are told to wait before they come back
    #[arg(
        long, value_name = "MS", value_parser = millis(0..=86_400_000),
        default_value_t = Deadlines::DEFAULT.reconnect_in_ms
    )]
    reconnect_in_ms: Millis,
}

#[derive(Args)]
struct OutputFlags {
    /// Log on standard error: error, warn, info or debug; never what people say
    #[arg(long, value_name = "LEVEL", value_enum, hide_possible_values = true, default_value_t = Level::Info)]
    log: Level,
    /// The language of the server's notices: en or zh [default: the locale's, else en]
    #[arg(long, value_name = "LANG", value_enum, hide_possible_values = true)]
    lang: Option<Language>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Language {
    En,
    Zh,
}

/// A parser of sizes and numbers in `range`.
pub(super) fn size(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = usize> {
    move |text: &str| within(&range, text)
}

/// A parser of counts in `range` that have nothing to do with this machine's memory.
pub(super) fn whole(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = u64> {
    move |text: &str| within(&range, text)
}

/// A parser of tokens in `range`.
fn tokens(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = u32> {
    move |text: &str| within(&range, text)
}

/// A parser of times in `range`.
fn millis(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = Millis> {
    move |text: &str| within(&range, text)
}

/// Reads a whole number; the error says what would have been right.
fn within<N: TryFrom<u64>>(range: &RangeInclusive<u64>, text: &str) -> Result<N, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    let number = number.and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| format!("a whole number from {} to {} is wanted", range.start(), range.end()))
}

/// See [`Command::from_args`].
pub(super) fn parse<I>(args: I) -> Result<Command, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let mut command = CommandLine::command();
    let matches = command.try_get_matches_from_mut(args)?;
    let CommandLine { command: word, flags } = CommandLine::from_arg_matches(&matches)?;
    let flags = match word {
        Some(Word::Connect(flags)) => return Ok(Command::Connect(flags.into_options())),
        Some(Word::History(flags)) => return Ok(Command::History(flags.into_task())),
        Some(Word::Completions { shell }) => return Ok(Command::Print(connect::completions(shell, &mut command))),
        Some(Word::Man { page }) => return Ok(Command::Print(connect::manual(page, command))),
        Some(Word::Serve(flags)) => *flags,
        None => flags,
    };
    let checked = flags.into_config().and_then(|config| config.check().map(|()| config));
    checked.map(Command::Serve).map_err(|problem| command.error(ErrorKind::ValueValidation, problem))
}

impl Flags {
    fn into_config(self) -> Result<Config, String> {
        let Self { network, limits, deadlines, storage, output } = self;
        let (history, memory) = storage.into_parts()?;
        Ok(Config {
            listen: if network.listen.is_empty() { Config::default().listen } else { listen::join(network.listen) },
            log_level: match output.log {
                Level::Error => LevelFilter::Error,
                Level::Warn => LevelFilter::Warn,
                Level::Info => LevelFilter::Info,
                Level::Debug => LevelFilter::Debug,
            },
            lang: spoken(output.lang),
            limits: Limits {
                connections_max: network.connections_max,
                message_bytes_max: limits.message_bytes,
                head_bytes_max: limits.head_bytes,
                headers_max: limits.headers_max,
                name_chars_max: limits.name_chars,
                rooms_per_connection_max: limits.rooms_per_connection,
                outbox_bytes_max: limits.outbox_bytes,
                outboxes_bytes_max: limits.outboxes_bytes,
            },
            rate: Rate { tokens_per_second: limits.rate, burst_tokens: limits.burst },
            deadlines: Deadlines {
                head_ms: deadlines.head_ms,
                hello_ms: deadlines.hello_ms,
                grace_ms: deadlines.grace_ms,
                ping_ms: deadlines.ping_ms,
                silence_ms: deadlines.silence_ms,
                write_stall_ms: deadlines.write_stall_ms,
                close_ms: deadlines.close_ms,
                drain_ms: deadlines.drain,
                reconnect_in_ms: deadlines.reconnect_in_ms,
            },
            history,
            memory,
        })
    }
}

/// The language that was asked for, else the locale's.
pub(super) fn spoken(language: Option<Language>) -> Lang {
    match language {
        Some(Language::En) => Lang::English,
        Some(Language::Zh) => Lang::Chinese,
        None => language_of(sys_locale::get_locale().as_deref()),
    }
}

/// Chinese for a locale whose language is (`zh-CN`, `zh_TW.UTF-8`, `zh`), else English.
fn language_of(locale: Option<&str>) -> Lang {
    let language = locale.and_then(|locale| locale.split(['-', '_', '.', '@']).next());
    if language.is_some_and(|language| language.eq_ignore_ascii_case("zh")) { Lang::Chinese } else { Lang::English }
}

#[cfg(test)]
mod tests {
    use super::super::{Disk, History, Memory};
    use super::*;
    use crate::store::{Retention, SyncPolicy};

    fn parse(line: &str) -> Result<Config, clap::Error> {
        match Command::from_args(["chinwag"].into_iter().chain(line.split_whitespace()))? {
            Command::Serve(config) => Ok(config),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn error(line: &str) -> String {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
        error.to_string()
    }

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn without_flags_it_is_the_default() {
        for line in ["--lang en", "serve --lang en"] {
            assert_eq!(parse(line).unwrap(), Config::default());
        }
    }

    #[test]
    fn every_flag_reaches_its_field_with_and_without_the_word_serve() {
        let line = "--listen 127.0.0.1:1 --listen [::1]:2 --log debug --lang zh --recent-messages 3 \
            --recent-bytes 40000 --rooms-max 5 --connections-max 6 --message-bytes 5000 --head-bytes 800 \
            --headers-max 9 --name-chars 10 --rooms-per-connection 11 --outbox-bytes 50000 --outboxes-bytes 60000 \
            --rate 14 --burst 15 --head-ms 16 --ping-ms 17 --silence-ms 18 --write-stall-ms 19 --close-ms 20 --hello-ms 22 --grace-ms 23 \
            --drain 21 --reconnect-in-ms 0 --store a/b --sync interval=24 --keep-messages 25 --keep-days 26 --keep-bytes 2700000";
        let listen = |address: &str| Listen { address: address.parse().unwrap(), optional: false };
        let wanted = Config {
            listen: vec![listen("127.0.0.1:1"), listen("[::1]:2")],
            log_level: LevelFilter::Debug,
            lang: Lang::Chinese,
            limits: Limits {
                connections_max: 6,
                message_bytes_max: 5_000,
                head_bytes_max: 800,
                headers_max: 9,
                name_chars_max: 10,
                rooms_per_connection_max: 11,
                outbox_bytes_max: 50_000,
                outboxes_bytes_max: 60_000,
            },
            rate: Rate { tokens_per_second: 14, burst_tokens: 15 },
            deadlines: Deadlines {
                head_ms: 16,
                hello_ms: 22,
                grace_ms: 23,
                ping_ms: 17,
                silence_ms: 18,
                write_stall_ms: 19,
                close_ms: 20,
                drain_ms: 21,
                reconnect_in_ms: 0,
            },
            history: History::Disk(Disk {
                path: "a/b".into(),
                sync: SyncPolicy::Interval(24),
                retention: Retention { messages_max: 25, days_max: 26, bytes_max: 2_700_000 },
            }),
            memory: Memory { recent_messages_max: 3, recent_bytes_max: 40_000, rooms_max: 5 },
        };
        assert_eq!(parse(line).unwrap(), wanted);
        assert_eq!(parse(&format!("serve {line}")).unwrap(), wanted);
    }

    #[test]
    fn a_value_that_is_absurd_is_refused_and_the_error_names_the_flag() {
        for (flag, bad) in [
            ("--listen", "8765 :8765 localhost:x"),
            ("--log", "loud trace"),
            ("--lang", "de"),
            ("--connections-max", "-1 x 16777217"),
            ("--message-bytes", "0 16777217 64k 1.5"),
            ("--head-bytes", "0 255 1048577"),
            ("--headers-max", "0 1001"),
            ("--name-chars", "0 257"),
            ("--rooms-per-connection", "0 65537"),
            ("--outbox-bytes", "0 1000"),
            ("--outboxes-bytes", "0 1000"),
            ("--rate", "-5 1000001 99999999999999999999"),
            ("--burst", "0 1000001"),
            ("--head-ms", "0 86400001"),
            ("--hello-ms", "0 86400001"),
            ("--grace-ms", "0 86400001"),
            ("--ping-ms", "0 60000"),
            ("--silence-ms", "0 30000"),
            ("--write-stall-ms", "0"),
            ("--close-ms", "0"),
            ("--drain", "0 5s"),
            ("--reconnect-in-ms", "86400001"),
            ("--recent-messages", "0"),
            ("--recent-bytes", "0 1000"),
            ("--rooms-max", "0"),
            ("--keep-bytes", "1"),
        ] {
            for value in bad.split(' ') {
                let text = error(&format!("{flag}={value}"));
                assert!(text.contains(flag), "{flag}={value}: {text}");
            }
        }
        assert!(error("--ping-ms 0").contains("a whole number from 1 to 86400000"));
        assert!(error("--message-bytes 16777216").contains("--outbox-bytes 4194304 is too small"));
        parse("--rate 0 --burst 0").unwrap();
        parse("--message-bytes 1000 --outbox-bytes 10096 --outboxes-bytes 10096 --recent-bytes 10096").unwrap();
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        for line in ["--nonsense", "talk", "serve talk", "--rate 5 serve", "--rate", "--rate 5 --rate 6"] {
            error(line);
        }
    }

    #[test]
    fn help_and_version_are_no_mistakes() {
        for line in ["--version", "serve --version", "-V"] {
            let answer = parse(line).unwrap_err();
            assert_eq!((answer.kind(), answer.exit_code()), (ErrorKind::DisplayVersion, 0));
            assert!(answer.to_string().ends_with(concat!(env!("CARGO_PKG_VERSION"), "\n")), "{answer}");
        }
        for line in ["--help", "serve --help", "-h"] {
            let answer = parse(line).unwrap_err();
            assert_eq!((answer.kind(), answer.exit_code()), (ErrorKind::DisplayHelp, 0));
            let text = answer.to_string();
            for heading in ["Network:", "Limits:", "Deadlines:", "Storage:", "Output:", "Examples:"] {
                assert!(text.contains(heading), "{heading} in {text}");
            }
        }
    }

    #[test]
    fn the_locale_chooses_the_language() {
        for locale in ["zh", "zh-CN", "zh_TW.UTF-8", "ZH-hant"] {
            assert_eq!(language_of(Some(locale)), Lang::Chinese, "{locale}");
        }
        for locale in ["en-US", "C", "POSIX", "zha", "", "de_DE@zh"] {
            assert_eq!(language_of(Some(locale)), Lang::English, "{locale}");
        }
        assert_eq!(language_of(None), Lang::English);
    }
}

//! The flags of `chinwag connect`, and of the commands that say something about the command line itself.

use clap::{Args, ValueEnum};

use super::flags::{Language, spoken};
use crate::client::{Mode, Options};

/// What `chinwag connect --help` ends with.
pub(super) const EXAMPLES: &str = "\
Examples:
  chinwag connect                                       the server on this machine
  chinwag connect ws://chat.example.org --name ann --room tea
  echo 'backup done' | chinwag connect --name cron      say a line; it has arrived when this ends
  tail -f app.log | chinwag connect --name app --room logs
  chinwag connect --room tea >tea.log                   keep a log until Ctrl-C
  chinwag connect --json | jq -r .message               have a program read

At a terminal: what you type is said to the room, /help shows the commands, Tab completes them and names, and quit or \
Ctrl-D ends. What you have said appears when the server has it; until then the prompt counts it.

If the input is not a terminal, each line of it is said as it is, commands too, and at its end the client says goodbye: \
with exit code 0 if every line was acknowledged, else 1 and the reason. If the output is not a terminal, there are \
neither colours nor a prompt; what the client itself has to say goes to standard error. NO_COLOR is obeyed.

When the connection breaks, the client comes back by itself and misses nothing. So that you come back as yourself, it keeps \
a secret and your name for each server in $XDG_STATE_HOME/chinwag (by default ~/.local/state/chinwag); with --guest it does not.";

#[derive(Args)]
pub(super) struct ConnectFlags {
    #[arg(
        value_name = "URL",
        default_value = "ws://127.0.0.1:8765",
        help = "The server: ws://HOST[:PORT][/rooms/ROOM][?name=NAME]; without ws://, port 8765"
    )]
    url: String,
    /// The name that you want to have [default: the one that you had last, else a guest's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A room to be in; may be given several times, and you speak in the first one [default: lobby]
    #[arg(long = "room", value_name = "ROOM")]
    rooms: Vec<String>,
    #[command(flatten)]
    output: OutputFlags,
    /// End when the connection breaks, instead of coming back
    #[arg(long)]
    once: bool,
    /// Come as somebody new, and keep nothing that would bring you back as yourself
    #[arg(long)]
    guest: bool,
    /// Your language: en or zh [default: the locale's, else en]
    #[arg(long, value_name = "LANG", value_enum, hide_possible_values = true)]
    lang: Option<Language>,
}

#[derive(Args)]
struct OutputFlags {
    /// Bare lines with date and time, without colours and prompt, as for a file
    #[arg(long, conflicts_with = "json")]
    plain: bool,
    /// Print the frames that the server sends, one a line, and nothing else; input is said as with --plain
    #[arg(long)]
    json: bool,
}

impl ConnectFlags {
    pub(super) fn into_options(self) -> Options {
        Options {
            url: self.url,
            name: self.name,
            rooms: self.rooms,
            mode: match (self.output.json, self.output.plain) {
                (true, _) => Mode::Json,
                (false, true) => Mode::Plain,
                (false, false) => Mode::Terminal,
            },
            once: self.once,
            guest: self.guest,
            lang: spoken(self.lang),
            state_folder: None,
        }
    }
}

/// The shells that completions are made for.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// What the shell is to read: for bash `source <(chinwag completions bash)`.
pub(super) fn completions(shell: Shell, command: &mut clap::Command) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut out = Vec::new();
    clap_complete::generate(shell, command, "chinwag", &mut out);
    out
}

/// The pages of the manual.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Page {
    Serve,
    Connect,
    History,
    HistoryVerify,
    HistoryExport,
    HistoryImport,
    HistoryStats,
}

/// A page of the manual, as roff: the program's, or that of one of its commands.
pub(super) fn manual(page: Option<Page>, mut command: clap::Command) -> Vec<u8> {
    command.build();
    let path: &[&str] = match page {
        None => &[],
        Some(Page::Serve) => &["serve"],
        Some(Page::Connect) => &["connect"],
        Some(Page::History) => &["history"],
        Some(Page::HistoryVerify) => &["history", "verify"],
        Some(Page::HistoryExport) => &["history", "export"],
        Some(Page::HistoryImport) => &["history", "import"],
        Some(Page::HistoryStats) => &["history", "stats"],
    };
    for name in path {
        command = command.find_subcommand(name).cloned().expect("each page is that of a command");
    }
    let mut out = Vec::new();
    clap_mangen::Man::new(command).render(&mut out).expect("a vector takes all that is written to it");
    out
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::*;
    use crate::wire::encode::Lang;

    fn parse(line: &[&str]) -> Result<Command, clap::Error> {
        Command::from_args(["chinwag"].iter().chain(line))
    }

    fn connect(line: &[&str]) -> Options {
        match parse(line) {
            Ok(Command::Connect(options)) => options,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    fn printed(line: &[&str]) -> String {
        match parse(line) {
            Ok(Command::Print(text)) => String::from_utf8(text).unwrap(),
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn without_flags_it_is_the_server_on_this_machine() {
        let options = connect(&["connect"]);
        assert_eq!(options.url, "ws://127.0.0.1:8765");
        assert_eq!((options.name, options.rooms, options.mode), (None, vec![], Mode::Terminal));
        assert!(!options.once && !options.guest);
    }

    #[test]
    fn every_flag_reaches_its_field() {
        let options = connect(&[
            "connect",
            "ws://[::1]:1/x",
            "--name",
            "Ann Lee",
            "--room",
            "tea",
            "--room",
            "logs",
            "--plain",
            "--once",
            "--guest",
            "--lang",
            "zh",
        ]);
        assert_eq!(options.url, "ws://[::1]:1/x");
        assert_eq!(options.name.as_deref(), Some("Ann Lee"));
        assert_eq!(options.rooms, ["tea", "logs"]);
        assert_eq!((options.mode, options.lang), (Mode::Plain, Lang::Chinese));
        assert!(options.once && options.guest);
        assert_eq!(connect(&["connect", "--json"]).mode, Mode::Json);
    }

    #[test]
    fn a_mistake_is_named_and_the_exit_code_is_2() {
        for (line, named) in [
            (&["connect", "--plain", "--json"][..], "--plain"),
            (&["connect", "a", "b"], "'b'"),
            (&["connect", "--listen", "127.0.0.1:1"], "--listen"),
            (&["--name", "ann", "connect"], "--name"),
            (&["completions", "tcsh"], "tcsh"),
            (&["completions"], "SHELL"),
            (&["man", "nonsense"], "nonsense"),
        ] {
            let error = parse(line).expect_err("a mistake");
            assert_eq!(error.exit_code(), 2, "{error}");
            assert!(error.to_string().contains(named), "{line:?}: {error}");
        }
    }

    #[test]
    fn help_has_examples() {
        let help = parse(&["connect", "--help"]).expect_err("help").to_string();
        for words in ["--room <ROOM>", "echo 'backup done' | chinwag connect", "/help", "exit code 0"] {
            assert!(help.contains(words), "{words}: {help}");
        }
    }

    #[test]
    fn completions_and_the_manual_know_the_flags() {
        for shell in ["bash", "zsh", "fish"] {
            let script = printed(&["completions", shell]);
            for word in ["chinwag", "connect", "guest", "recent-messages"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
        let page = printed(&["man", "connect"]);
        assert!(page.contains(".TH chinwag-connect 1") && page.contains("\\-\\-guest"), "{page}");
        assert!(printed(&["man"]).contains("chinwag\\-connect(1)"));
        assert!(printed(&["man", "serve"]).contains("\\-\\-recent\\-messages"));
    }
}

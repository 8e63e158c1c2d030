//! `chinwag`: arguments, configuration, bind, run, exit code.
//!
//! Exit codes of the server: 0 after a stop signal, with all goodbyes said and all lines stored; 1 when it cannot listen, cannot
//! use its store, or the loop fails; 2 for a mistake on the command line; 74 (`EX_IOERR` of sysexits.h) when the disk fails while
//! it runs; 128 and its number (130, 143) when a second signal ended it at once.
//!
//! Of the client: 0 when all that was said is acknowledged, or nobody reads its output any more; 1 with the reason
//! otherwise; 2 likewise.
//!
//! Of `history`: 0 when all is well, or nobody reads its output any more; 1 when something is damaged, or with the reason why it cannot be
//! done; 2 likewise.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use chinwag::client::screen::Screen;
use chinwag::client::{self, Mode, Options};
use chinwag::config::{Command, Config};
use chinwag::engine::{Outcome, Server};
use chinwag::history::{self, Task};
use chinwag::logging;
use chinwag::wire::system::without_numbers;

/// What is free goes back to the system at once: the C library's allocator keeps more than half of it (see
/// docs/ARCHITECTURE.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The exit code when the store fails while the server runs: `EX_IOERR`, an error of input or output.
const STORE_FAILED: u8 = 74;

fn main() -> ExitCode {
    match Command::from_args(std::env::args_os()) {
        Ok(Command::Serve(config)) => serve(config),
        Ok(Command::Connect(options)) => connect(options),
        Ok(Command::History(task)) => history(&task),
        Ok(Command::Print(text)) => {
            // Nobody may be there to read, as in `chinwag man | head`.
            let _ = io::stdout().write_all(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Help and version come here, too.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}

/// Runs the client.
fn connect(mut options: Options) -> ExitCode {
    if options.mode == Mode::Terminal && !Screen::is_terminal() {
        options.mode = Mode::Plain;
    }
    let mut screen = Screen::open(options.mode, options.lang);
    let keyboard = screen.keyboard();
    let show = |shown| match screen.show(shown) {
        Ok(()) => {}
        // Whoever read it has enough, as with `| head`. It ends here, as `cat` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            fail(format_args!("cannot write: {error}"));
            std::process::exit(1)
        }
    };
    client::run(&options, show, move |intents| keyboard.run(|intent| intents.send(intent)))
}

/// Looks after what is kept.
fn history(task: &Task) -> ExitCode {
    match task.run(&mut io::stdout().lock()) {
        Ok(history::Outcome::Whole) => ExitCode::SUCCESS,
        Ok(history::Outcome::Damaged) => ExitCode::FAILURE,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

/// Runs the server.
fn serve(config: Config) -> ExitCode {
    let _log = match logging::start(config.log_level) {
        Ok(log) => log,
        Err(error) => return fail(format_args!("cannot start logging: {error}")),
    };
    raise_open_files();
    let history = config.history.to_string();
    let server = match Server::bind(config) {
        Ok(server) => server,
        Err(error) => return fail(error),
    };
    announce(server.addresses(), &history);
    match server.run() {
        Ok(Outcome::Drained) => ExitCode::SUCCESS,
        // It was logged.
        Ok(Outcome::StoreFailed) => ExitCode::from(STORE_FAILED),
        Ok(Outcome::Interrupted(signal)) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)),
        Err(error) => {
            // Through the log: by now standard error may be a pipe that nobody reads.
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Raises the soft limit of open files to the hard one: each connection is a file, and the usual soft limit of 1,024 is
/// there for programs that use `select`.
fn raise_open_files() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => log::info!("open files: {files}"),
        Err(error) => log::warn!("cannot raise the limit of open files: {error}"),
    }
}

/// Says on standard output where the server accepts, for people and for scripts that chose port 0; and where the history is.
fn announce(addresses: &[SocketAddr], history: &str) {
    let mut output = io::stdout().lock();
    for address in addresses {
        // A closed standard output is no reason not to serve.
        let _ = writeln!(output, "chinwag {} listening on ws://{address} ({history})", env!("CARGO_PKG_VERSION"));
    }
    let _ = output.flush();
}

/// Says on standard error why it cannot be done.
fn fail(error: impl std::fmt::Display) -> ExitCode {
    // In one piece: the log's thread writes there, too.
    let _ = io::stderr().write_all(without_numbers(&format!("chinwag: {error}\n")).as_bytes());
    ExitCode::FAILURE
}

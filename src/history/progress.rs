//! How far it is, on standard error, if that is a terminal. Nothing is shown elsewhere, and nothing of it is left at the end.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of bytes.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// So many bytes are to be done, if that is known. Where standard output is the same terminal and messages are written to it, they
    /// are seen, and a bar would be in the way: `quiet`.
    pub(super) fn new(what: &'static str, bytes: Option<u64>, quiet: bool) -> Self {
        // What is done within this time needs no bar.
        let often = 8;
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(often) };
        let template = match bytes {
            Some(_) => "{msg} {bar:30} {bytes}/{total_bytes} ({eta} left)",
            None => "{msg} {spinner} {bytes}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is a good one");
        let bar = ProgressBar::with_draw_target(bytes, target).with_style(style).with_message(what);
        Self { bar }
    }

    /// For messages that go to standard output.
    pub(super) fn beside_output(what: &'static str, bytes: u64) -> Self {
        Self::new(what, Some(bytes), io::stdout().is_terminal())
    }

    /// Shows that something goes on of which nothing is known but that.
    pub(super) fn tick(&self) {
        self.bar.enable_steady_tick(Duration::from_millis(125));
    }

    /// So many bytes more are done.
    pub(super) fn advance(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
    }

    /// Writes something that is not to be mixed with the bar.
    pub(super) fn beside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// A sentence on standard error.
    pub(super) fn note(&self, sentence: &str) {
        // Nobody may be there to read it; the exit code says it, too.
        let _ = self.bar.suspend(|| writeln!(io::stderr(), "chinwag: {sentence}"));
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

//! Signals: SIGINT and SIGTERM as an event source of the loop's. What they mean is the loop's to decide.

use std::io;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use signal_hook::consts::signal::{SIGINT, SIGTERM};

/// The signals that ask the server to stop. While it lives they no longer end the process by themselves.
pub(crate) struct Signals {
    inner: signal_hook_mio::v1_0::Signals,
}

impl Signals {
    /// Watches SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// When the pipe that wakes the loop cannot be made: out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        Self::of(&[SIGINT, SIGTERM])
    }

    fn of(numbers: &[i32]) -> io::Result<Self> {
        Ok(Self { inner: signal_hook_mio::v1_0::Signals::new(numbers)? })
    }

    /// The numbers of the signals that came since the last call; never blocks. The same signal twice between two
    /// calls counts as one, as it does in the kernel.
    pub(crate) fn pending(&mut self) -> impl Iterator<Item = i32> {
        self.inner.pending()
    }
}

/// The name of a signal, for the log: `SIGTERM`.
pub(crate) fn name(number: i32) -> &'static str {
    signal_hook::low_level::signal_name(number).unwrap_or("a signal")
}

impl Source for Signals {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.inner.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.inner.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.inner.deregister(registry)
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::signal::SIGUSR1;

    use super::*;

    /// SIGUSR1 stands in, so that no server under test in the same process hears a SIGTERM.
    #[test]
    fn a_signal_wakes_the_loop_every_time() {
        let mut poll = mio::Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(4);
        let mut signals = Signals::of(&[SIGUSR1]).unwrap();
        poll.registry().register(&mut signals, Token(7), Interest::READABLE).unwrap();
        assert_eq!(signals.pending().count(), 0);
        for round in 0..3 {
            signal_hook::low_level::raise(SIGUSR1).unwrap();
            loop {
                match poll.poll(&mut events, Some(std::time::Duration::from_secs(10))) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result.unwrap(),
                }
            }
            assert_eq!(events.iter().map(mio::event::Event::token).collect::<Vec<_>>(), [Token(7)], "round {round}");
            assert_eq!(signals.pending().collect::<Vec<_>>(), [SIGUSR1], "round {round}");
            assert_eq!(signals.pending().count(), 0);
        }
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(name(SIGTERM), "SIGTERM");
        assert_eq!(name(0), "a signal");
    }
}

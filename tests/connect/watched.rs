//! Something that a thread changes and a test waits for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::common::PATIENCE;

/// Something that changes while others look at it.
pub(crate) struct Watched<T> {
    inner: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    /// As it is at first.
    pub(crate) fn new(first: T) -> Self {
        Self { inner: Mutex::new(first), changed: Condvar::new() }
    }

    /// Changes it.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.inner());
        self.changed.notify_all();
        result
    }

    /// Looks at it as it is now.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.inner())
    }

    /// Waits until `wished` gives something; gives `None` when that takes too long.
    pub(crate) fn wait<R>(&self, mut wished: impl FnMut(&T) -> Option<R>) -> Option<R> {
        let mut inner = self.inner();
        let start = std::time::Instant::now();
        loop {
            if let Some(result) = wished(&inner) {
                return Some(result);
            }
            let left = PATIENCE.checked_mul(2)?.checked_sub(start.elapsed())?;
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn inner(&self) -> MutexGuard<'_, T> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Random bits of the system's, drawn for many connections at a time.

use std::io;

/// Secrets drawn in one call: it costs as much for 1 KiB as for 16 bytes.
const SECRETS: usize = 64;

/// The bytes of one.
const SECRET_BYTES: usize = 16;

/// Secrets that nobody has seen yet.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    drawn: Vec<[u8; SECRET_BYTES]>,
}

impl Secrets {
    /// A fresh one. It is kept nowhere.
    ///
    /// # Errors
    /// When the system gives no random bits.
    pub(super) fn draw(&mut self) -> io::Result<[u8; SECRET_BYTES]> {
        if let Some(secret) = self.drawn.pop() {
            return Ok(secret);
        }
        let bytes: [u8; SECRETS * SECRET_BYTES] = random_bytes()?;
        let (secrets, _) = bytes.as_chunks::<SECRET_BYTES>();
        let (&first, others) = secrets.split_first().expect("there are 64");
        self.drawn.extend_from_slice(others);
        Ok(first)
    }
}

/// Random bits of the system's.
pub(super) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_comes_twice() {
        let mut secrets = Secrets::default();
        let drawn: std::collections::HashSet<_> = (0..10 * SECRETS).map(|_| secrets.draw().unwrap()).collect();
        assert_eq!(drawn.len(), 10 * SECRETS);
    }
}

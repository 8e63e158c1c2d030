//! Proof of who somebody is, without a list of who was here.
//!
//! A session is the user's id, the time it was made, and an HMAC-SHA-256 (RFC 2104) of both under the store's key. It is
//! kept by the client alone, so it costs the server nothing, and it is good for 30 days.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::ids::{Millis, UserId};

/// How long a session is good for.
pub(super) const SESSION_MS: Millis = 30 * 24 * 3_600_000;

/// A clock that went back by less than this makes no session void.
const CLOCK_SLACK_MS: Millis = 24 * 3_600_000;

/// Bytes of the id and of the time.
const CLAIM_BYTES: usize = 18;

/// Makes and reads sessions.
#[derive(Clone, Debug)]
pub(super) struct Sealer {
    mac: Hmac<Sha256>,
}

/// What a session proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) user: UserId,
    pub(super) made_ms: Millis,
}

impl Sealer {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { mac: Hmac::new_from_slice(key).expect("an HMAC key may have any length") }
    }

    pub(super) fn seal(&self, proof: Proof) -> Box<str> {
        let claim = claim(proof);
        let mut mac = self.mac.clone();
        mac.update(&claim);
        let bytes = [&claim[..], &mac.finalize().into_bytes()].concat();
        BASE64URL_NOPAD.encode(&bytes).into()
    }

    /// What `session` proves at this time; `None` if it is no session of ours, or too old. Compares in constant time.
    pub(super) fn open(&self, session: &str, wall_ms: Millis) -> Option<Proof> {
        // Longer ones are none; do not decode what a stranger makes long.
        if session.len() > 128 {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(session.as_bytes()).ok()?;
        let (claim, tag) = bytes.split_at_checked(CLAIM_BYTES)?;
        let mut mac = self.mac.clone();
        mac.update(claim);
        mac.verify_slice(tag).ok()?;
        let user = UserId(claim[..10].try_into().ok()?);
        let made_ms = u64::from_be_bytes(claim[10..].try_into().ok()?);
        let good = made_ms.saturating_sub(CLOCK_SLACK_MS)..made_ms.saturating_add(SESSION_MS);
        good.contains(&wall_ms).then_some(Proof { user, made_ms })
    }
}

fn claim(proof: Proof) -> [u8; CLAIM_BYTES] {
    let mut claim = [0; CLAIM_BYTES];
    claim[..10].copy_from_slice(&proof.user.0);
    claim[10..].copy_from_slice(&proof.made_ms.to_be_bytes());
    claim
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROOF: Proof = Proof { user: UserId([7; 10]), made_ms: 1_000_000_000_000 };

    #[test]
    fn a_session_is_good_for_thirty_days() {
        let sealer = Sealer::new(&[1; 32]);
        let session = sealer.seal(PROOF);
        for (wall_ms, good) in [
            (PROOF.made_ms, true),
            (PROOF.made_ms + SESSION_MS - 1, true),
            (PROOF.made_ms + SESSION_MS, false),
            (PROOF.made_ms - CLOCK_SLACK_MS, true),
            (PROOF.made_ms - CLOCK_SLACK_MS - 1, false),
        ] {
            assert_eq!(sealer.open(&session, wall_ms), good.then_some(PROOF), "at {wall_ms}");
        }
        assert_eq!(Sealer::new(&[2; 32]).open(&session, PROOF.made_ms), None, "another key");
    }

    #[test]
    fn no_changed_character_and_no_other_length_is_a_session() {
        let sealer = Sealer::new(&[1; 32]);
        let session = sealer.seal(PROOF);
        for place in 0..session.len() {
            let mut changed = session.as_bytes().to_vec();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(sealer.open(&changed, PROOF.made_ms), None, "{changed}");
        }
        for cut in 0..session.len() {
            assert_eq!(sealer.open(&session[..cut], PROOF.made_ms), None);
        }
        assert_eq!(sealer.open(&format!("{session}A"), PROOF.made_ms), None);
        assert_eq!(sealer.open("ü", PROOF.made_ms), None);
    }
}

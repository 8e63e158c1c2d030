//! Who was seen to leave, and by which name. A name is free when its user has left, and means nobody then; but a private line finds the
//! user who had it (docs/PROTOCOL.md, section 17), if that can only be one.

use crate::chat::names::{Name, NameKey};

/// Departures that are known at a time.
const DEPARTURES_MAX: usize = 1_000;

/// The longest name that a server may allow, in characters.
const NAME_CHARS_MAX: usize = 256;

/// Users who were seen to leave. They may be back: what is sent to a `user` arrives all the same.
#[derive(Debug, Default)]
pub(super) struct Departed {
    /// The latest last.
    departures: Vec<Departure>,
}

#[derive(Debug)]
struct Departure {
    user: String,
    name: String,
    key: NameKey,
}

impl Departed {
    /// A user has left.
    pub(super) fn note(&mut self, user: String, name: String) {
        let Some(key) = key(&name) else { return };
        self.departures.retain(|departure| departure.user != user || departure.key != key);
        if self.departures.len() == DEPARTURES_MAX {
            self.departures.remove(0);
        }
        self.departures.push(Departure { user, name, key });
    }

    /// The only user who has left by that name.
    pub(super) fn user(&self, name: &str) -> Option<&str> {
        let key = key(name)?;
        let mut users = self.departures.iter().filter(|departure| departure.key == key);
        let only = users.next()?;
        users.next().is_none().then_some(&only.user)
    }

    /// The name by which a user has left.
    pub(super) fn name(&self, user: &str) -> Option<&str> {
        let mut latest = self.departures.iter().rev();
        latest.find(|departure| departure.user == user).map(|departure| &*departure.name)
    }
}

/// By which names are compared.
fn key(name: &str) -> Option<NameKey> {
    Name::parse(name, NAME_CHARS_MAX).map(|name| name.key())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_whoever_left_by_it_if_that_is_one() {
        let mut departed = Departed::default();
        for (user, name) in [("u1", "Alice"), ("u2", "bob"), ("u1", "alice"), ("u1", "alix"), ("u3", "bob")] {
            departed.note(user.into(), name.into());
        }
        assert_eq!((departed.user("ALICE"), departed.user("alix")), (Some("u1"), Some("u1")));
        assert_eq!((departed.user("bob"), departed.user("carol"), departed.user("")), (None, None, None));
        assert_eq!((departed.name("u1"), departed.name("u2"), departed.name("u4")), (Some("alix"), Some("bob"), None));
    }

    #[test]
    fn no_more_than_so_many_are_known() {
        let mut departed = Departed::default();
        for number in 0..=DEPARTURES_MAX {
            departed.note(format!("u{number}"), format!("n{number}"));
        }
        assert_eq!((departed.user("n0"), departed.user("n1")), (None, Some("u1")));
        assert_eq!(departed.departures.len(), DEPARTURES_MAX);
    }
}

//! What the Tab key makes of a line: commands, names after `/msg` and within what is said, rooms. Pure.

use super::typed::{COMMANDS, quoted};

/// Completions that are offered at once: a few rows of any terminal. The line editor would ask to page through more, and
/// hold up what comes in meanwhile.
pub(super) const OFFERED_MAX: usize = 24;

/// What may be put where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Completion {
    /// The byte of the line from which on it is replaced.
    pub(super) start: usize,
    /// What is shown, and what is put in.
    pub(super) candidates: Vec<(String, String)>,
}

/// What the completion may look up.
pub(super) trait Known {
    /// The names of others that `choose` says.
    fn names(&self, choose: &dyn Fn(&str) -> bool) -> Vec<String>;
    /// The joined rooms.
    fn rooms(&self) -> Vec<String>;
}

/// What completes `typed`, the line up to the cursor.
pub(super) fn complete(typed: &str, known: &impl Known) -> Completion {
    let command = typed.split_once(' ').filter(|(word, _)| word.starts_with('/'));
    match command {
        None if typed.starts_with('/') => {
            let found = COMMANDS.iter().filter(|command| begins(command.word, typed));
            let put =
                |word: &str, operands: &str| if operands.is_empty() { word.to_owned() } else { format!("{word} ") };
            let candidates = found.map(|found| (found.word.to_owned(), put(found.word, found.operands[0]))).collect();
            Completion { start: 0, candidates }
        }
        Some(("/msg", rest)) if !rest.trim_start_matches('"').contains('"') => {
            let prefix = rest.trim_start();
            let bare = prefix.strip_prefix('"').unwrap_or(prefix);
            let names = known.names(&|name| begins(name, bare));
            if names.is_empty() {
                return complete_name(typed, known);
            }
            let candidates = names.into_iter().map(|name| (name.clone(), format!("{} ", quoted(&name)))).collect();
            Completion { start: typed.len() - prefix.len(), candidates }
        }
        Some(("/join" | "/leave" | "/room", rest)) => {
            let prefix = rest.trim_start();
            let rooms = known.rooms().into_iter().filter(|room| begins(room, prefix)).take(OFFERED_MAX);
            Completion {
                start: typed.len() - prefix.len(),
                candidates: rooms.map(|room| (room.clone(), room)).collect(),
            }
        }
        Some(("/name" | "/who" | "/history" | "/help" | "/quit", _)) => nothing(),
        _ => complete_name(typed, known),
    }
}

/// A name within what is said: at the beginning it addresses somebody.
fn complete_name(typed: &str, known: &impl Known) -> Completion {
    let start =
        typed.rfind(char::is_whitespace).map_or(0, |at| at + typed[at..].chars().next().map_or(0, char::len_utf8));
    let prefix = typed[start..].trim_start_matches('@');
    if prefix.is_empty() {
        return nothing();
    }
    let end = if start == 0 { ": " } else { " " };
    let names = known.names(&|name| begins(name, prefix));
    Completion {
        start: typed.len() - prefix.len(),
        candidates: names.into_iter().map(|name| (name.clone(), format!("{name}{end}"))).collect(),
    }
}

fn nothing() -> Completion {
    Completion { start: 0, candidates: Vec::new() }
}

/// Whether a name begins so, whatever the case.
fn begins(name: &str, prefix: &str) -> bool {
    let mut name = name.chars().flat_map(char::to_lowercase);
    prefix.chars().flat_map(char::to_lowercase).all(|char| name.next() == Some(char))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Known for Fixed {
        fn names(&self, choose: &dyn Fn(&str) -> bool) -> Vec<String> {
            ["alice", "Ann Lee", "bob", "名字"].into_iter().filter(|name| choose(name)).map(str::to_owned).collect()
        }
        fn rooms(&self) -> Vec<String> {
            vec!["lobby".into(), "tea".into()]
        }
    }

    /// The lines that Tab can make of this one.
    fn lines(typed: &str) -> Vec<String> {
        let Completion { start, candidates } = complete(typed, &Fixed);
        candidates.into_iter().map(|(_, put)| format!("{}{put}", &typed[..start])).collect()
    }

    #[test]
    fn commands_are_completed() {
        assert_eq!(lines("/w"), ["/who"]);
        assert_eq!(lines("/M"), ["/msg "]);
        assert_eq!(lines("/h"), ["/history ", "/help"]);
        assert_eq!(lines("/").len(), COMMANDS.len());
        assert!(lines("/x").is_empty());
    }

    #[test]
    fn names_are_completed_with_the_quotes_that_they_need() {
        assert_eq!(lines("/msg b"), ["/msg bob "]);
        assert_eq!(lines("/msg a"), ["/msg alice ", "/msg \"Ann Lee\" "]);
        assert_eq!(lines("/msg \"an"), ["/msg \"Ann Lee\" "]);
        assert_eq!(lines("/msg ann l"), ["/msg \"Ann Lee\" "]);
        assert_eq!(lines("/msg 名"), ["/msg 名字 "]);
        assert_eq!(lines("/msg ").len(), 4);
        assert_eq!(lines("/msg \"Ann Lee\" b"), ["/msg \"Ann Lee\" bob "]);
        assert_eq!(lines("/msg bob al"), ["/msg bob alice "]);
    }

    #[test]
    fn names_are_completed_in_what_is_said() {
        assert_eq!(lines("BO"), ["bob: "]);
        assert_eq!(lines("hi bo"), ["hi bob "]);
        assert_eq!(lines("hi\u{3000}@bo"), ["hi\u{3000}@bob "]);
        assert!(lines("").is_empty() && lines("hi ").is_empty() && lines("hi x").is_empty());
    }

    #[test]
    fn rooms_are_completed() {
        assert_eq!(lines("/room t"), ["/room tea"]);
        assert_eq!(lines("/leave "), ["/leave lobby", "/leave tea"]);
        assert!(lines("/name b").is_empty());
    }
}

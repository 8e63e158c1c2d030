//! What the system says about an error, as people are told of it.

/// Begins the number that Rust puts behind the system's words.
const NUMBER: &str = " (os error ";

/// A text with the system's words in it, without their numbers: `No such file or directory (os error 2)` has one. The words say it; and
/// the number means something else on another system.
pub fn without_numbers(text: &str) -> String {
    let mut parts = text.split(NUMBER);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => out.push_str(rest),
            _ => {
                out.push_str(NUMBER);
                out.push_str(part);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_and_all_else_stays() {
        for (text, without) in [
            ("", ""),
            ("no room: No such file or directory (os error 2)", "no room: No such file or directory"),
            ("a (os error 2); b (os error 13)", "a; b"),
            ("a (os error", "a (os error"),
            ("a (os error 2", "a (os error 2"),
            ("a (os error two), b", "a (os error two), b"),
        ] {
            assert_eq!(without_numbers(text), without);
        }
    }
}

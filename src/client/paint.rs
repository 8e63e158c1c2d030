//! Colours and weights: the only place where an escape sequence is made, but for those of the line editor. What is painted
//! must be clean already.

use siphasher::sip::SipHasher13;

/// The colours of names, as numbers of the 256-colour palette that xterm set. Each has a contrast (WCAG 2) of at least
/// 3.8:1 on black and on white, where 3:1 is asked for large text and 4.5:1 for small; only grey could have more than
/// 4.58:1 on both. So a name reads on any background that is dark or light.
///
/// | number | colour | on black | on white |
/// |---|---|---|---|
/// | 160 | `#d70000` red | 3.89 | 5.40 |
/// | 166 | `#d75f00` orange | 5.53 | 3.80 |
/// | 130 | `#af5f00` brown | 4.46 | 4.71 |
/// | 100 | `#878700` olive | 5.50 | 3.82 |
/// | 64 | `#5f8700` moss | 4.95 | 4.24 |
/// | 28 | `#008700` green | 4.47 | 4.70 |
/// | 30 | `#008787` teal | 4.82 | 4.36 |
/// | 32 | `#0087d7` azure | 5.45 | 3.86 |
/// | 27 | `#005fff` blue | 4.08 | 5.15 |
/// | 98 | `#875fd7` violet | 4.65 | 4.52 |
/// | 164 | `#d700d7` magenta | 4.87 | 4.31 |
/// | 132 | `#af5f87` mauve | 4.81 | 4.37 |
const PALETTE: [u8; 12] = [160, 166, 130, 100, 64, 28, 30, 32, 27, 98, 164, 132];

/// The same for terminals of 16 colours: red, green, magenta and cyan. What they look like is the theme's; yellow is the
/// one that is lost on white by default, and blue the one that is lost on black.
const BASIC_PALETTE: [u8; 4] = [31, 32, 35, 36];

/// How many colours there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// None, and no weights either: a file, or `NO_COLOR`.
    Bare,
    /// 16.
    Basic,
    /// 256.
    Full,
}

impl Paint {
    /// What a terminal can show, by its variables: nothing is painted where `NO_COLOR` is set to anything
    /// (<https://no-color.org>).
    pub(super) fn of_terminal(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if set("NO_COLOR").is_some() {
            Self::Bare
        } else if set("COLORTERM").is_some() || set("TERM").is_some_and(|term| term.contains("256color")) {
            Self::Full
        } else {
            Self::Basic
        }
    }

    /// For what matters less: times, notices.
    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// For what must not be overlooked.
    pub(super) fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    /// A name, in the colour of who bears it: the same on every day and every machine.
    pub(super) fn name(self, name: &str, bearer: &str, own: bool) -> String {
        let hash = SipHasher13::new().hash(bearer.as_bytes());
        // The remainder is below the palette's length.
        let choose = |palette: &[u8]| palette[(hash % palette.len() as u64) as usize];
        let colour = match self {
            Self::Bare => return name.to_owned(),
            Self::Basic => choose(&BASIC_PALETTE).to_string(),
            Self::Full => format!("38;5;{}", choose(&PALETTE)),
        };
        self.with(&if own { format!("1;{colour}") } else { colour }, name)
    }

    fn with(self, style: &str, text: &str) -> String {
        if self == Self::Bare || text.is_empty() { text.to_owned() } else { format!("\x1b[{style}m{text}\x1b[0m") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG 2.2, "contrast ratio", with black (0) or white (1).
    fn contrast(number: u8, background: f64) -> f64 {
        let level = |step: u8| if step == 0 { 0.0 } else { f64::from(55 + 40 * step) / 255.0 };
        let linear = |level: f64| if level <= 0.04045 { level / 12.92 } else { ((level + 0.055) / 1.055).powf(2.4) };
        let cube = number - 16;
        let [red, green, blue] = [cube / 36, cube / 6 % 6, cube % 6].map(|step| linear(level(step)));
        let luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        (luminance.max(background) + 0.05) / (luminance.min(background) + 0.05)
    }

    #[test]
    fn every_colour_reads_on_black_and_on_white() {
        for number in PALETTE {
            let (black, white) = (contrast(number, 0.0), contrast(number, 1.0));
            assert!(black >= 3.795 && white >= 3.795, "{number}: {black:.2} {white:.2}");
        }
    }

    #[test]
    fn a_colour_stays_with_its_bearer_and_all_are_used() {
        assert_eq!(Paint::Full.name("bob", "u1", false), Paint::Full.name("bob", "u1", false));
        let colours: std::collections::BTreeSet<String> =
            (0..500).map(|number| Paint::Full.name("bob", &format!("u{number}"), false)).collect();
        assert_eq!(colours.len(), PALETTE.len());
        let own = Paint::Full.name("bob", "u1", true);
        assert_eq!(
            own,
            Paint::Full.name("bob", "u1", false).replace("\x1b[", "\x1b[1;").replace("\x1b[1;0m", "\x1b[0m")
        );
    }

    #[test]
    fn no_color_is_obeyed() {
        let of = |variables: &[(&str, &str)]| {
            Paint::of_terminal(|name| {
                variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor"), ("TERM", "xterm-256color")]), Paint::Bare);
        assert_eq!(of(&[("NO_COLOR", ""), ("TERM", "xterm-256color")]), Paint::Full);
        assert_eq!(of(&[("COLORTERM", "truecolor")]), Paint::Full);
        assert_eq!(of(&[("TERM", "linux")]), Paint::Basic);
        for painted in [Paint::Bare.dim("x"), Paint::Bare.strong("x"), Paint::Bare.name("x", "u", true)] {
            assert_eq!(painted, "x");
        }
    }
}

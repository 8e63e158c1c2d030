//! Whether a promise holds.

/// `Err` says what promise was broken.
pub type Verdict = Result<(), String>;

/// Fails with a text unless something holds.
#[macro_export]
macro_rules! hold {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}

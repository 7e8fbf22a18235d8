//! Names of environments and functions: one rule for the client and the supervisor.
//!
//! A name becomes a folder of the mount and of the state, so it can hold no `/` and cannot begin
//! with a dot.

const MAX_BYTES: usize = 64;

/// A text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has 1 to {MAX_BYTES} characters of `A-Z a-z 0-9 . _ -` and begins with a letter or digit"
)]
pub struct NameError;

/// Checks that `name` can name an environment or a function:
/// `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`.
pub fn check(name: &str) -> Result<(), NameError> {
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let goes_on_well = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if begins_well && goes_on_well && name.len() <= MAX_BYTES { Ok(()) } else { Err(NameError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_folder() {
        for name in ["a", "0", "web-1.2_x", &"x".repeat(64)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let too_long = "x".repeat(65);
        for name in ["", ".", "..", ".a", "-a", "_a", "a/b", "../a", "a b", "ä", "a\n", &too_long]
        {
            assert_eq!(check(name), Err(NameError), "{name}");
        }
    }
}

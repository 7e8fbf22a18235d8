//! How many children of one zygote may wait for functions.

/// Enough for some hundred starts a second.
pub(super) const DEFAULT: usize = 8;

/// More than anybody should want: each is a sandbox.
const MOST: usize = 1000;

/// Reads a number of spares.
pub(super) fn parse(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= MOST);
    number.ok_or_else(|| format!("`{text}` is no number of spares: a number from 0 to {MOST}"))
}

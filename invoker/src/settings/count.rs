//! How many there may be of what there can be many of.

/// Enough for some hundred starts a second.
pub(super) const DEFAULT_SPARES: usize = 8;

/// More than this one waits for longer than anybody wants to.
pub(super) const DEFAULT_QUEUE: u32 = 256;

/// Functions wait for others most of the time, or one a processor would do.
const SANDBOXES_PER_PROCESSOR: usize = 16;

/// More than anybody should want: each is a sandbox.
const MOST_SPARES: u32 = 1000;

/// As many users as sandboxes can have, less some for zygotes and spares.
const MOST_SANDBOXES: u32 = 10_000;

/// Each has a connection, of which there are some thousands.
const MOST_WAITING: u32 = 4000;

/// Reads a number of spares.
pub(super) fn spares(text: &str) -> Result<usize, String> {
    number(text, "spares", 0, MOST_SPARES).map(|number| number as usize)
}

/// Reads a number of sandboxes that serve at the same time.
pub(super) fn sandboxes(text: &str) -> Result<u32, String> {
    number(text, "sandboxes", 1, MOST_SANDBOXES)
}

/// Reads a number of invocations that wait.
pub(super) fn queue(text: &str) -> Result<u32, String> {
    number(text, "invocations that wait", 0, MOST_WAITING)
}

/// How many sandboxes serve at the same time where that is not said.
pub(super) fn default_sandboxes() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(processors * SANDBOXES_PER_PROCESSOR).unwrap_or(MOST_SANDBOXES)
}

fn number(text: &str, what: &str, least: u32, most: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number
        .ok_or_else(|| format!("`{text}` is no number of {what}: a number from {least} to {most}"))
}

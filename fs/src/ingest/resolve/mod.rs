//! From requirements to a lock: `wanted` says what is asked for, and `pylock` so of a lock that somebody
//! brings. `uv` resolves, in the places that `search_scope` names. `lock` says what was chosen, and
//! `prefer` which of its wheels. `source` builds what has no wheel.

pub mod archive_urls;
pub mod built;
pub mod lock;
mod lock_marker;
pub mod prefer;
mod pylock;
mod search;
pub mod search_scope;
pub mod source;
pub mod tags;
pub mod uv;
pub mod wanted;

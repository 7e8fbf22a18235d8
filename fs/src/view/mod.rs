//! Views: the merged folder trees of environments, compiled to what the mount serves.
//!
//! `plan` says what a view holds, `compile` makes its index of that, in the `format` that `index`
//! reads; `published` says which names there are.
//!
//! ```text
//! STATE/views/DIGEST.index      one sealed index a view; a distribution is a view of itself alone
//! STATE/views/published.json    the names in /envs and /dists, replaced by rename
//! ```

pub mod compile;
mod format;
pub mod index;
pub mod plan;
pub mod published;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes a file so that there is always the old or the new one, whole and durable.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

//! Rules of which packets may go where: `rules` has them as plain data, `told` tells them to the kernel.

mod rules;
mod told;

use std::io;

pub use rules::Subject;
use rules::rules;
pub use told::{remove, share, shared, tables, unshare};

/// Begin of the names of instances' tables; then comes an instance's ID.
pub const TABLE_PREFIX: &str = "pipsqueak-";

/// Sets the rules of an instance in a table of its own.
pub fn set(table: &str, subject: Subject<'_>) -> io::Result<()> {
    told::set(table, &rules(subject)).or_else(|error| {
        let uncounted = Subject { connections: None, ..subject };
        told::set(table, &rules(uncounted))?;
        tracing::warn!(%error, "the kernel counts no connections: a function can take all that it tracks");
        Ok(())
    })
}

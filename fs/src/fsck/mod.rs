//! Checks and repairs of what is stored.
//!
//! `check` compares catalog, segments and views without reading all content. `scrub` reads all of it, and
//! `archives` compares it with what it was unpacked from. Damage is quarantined (`quarantine`): entered
//! in the catalog, and led to by no index until `repair` has got it again.

mod archives;
mod check;
mod quarantine;
pub(crate) mod repair;
mod scrub;

use std::path::PathBuf;

use crate::catalog::StoredEnvironment;
use crate::ingest::AddError;
use crate::ingest::resolve::lock::{self, Locked};
use crate::ingest::resolve::wanted::Wanted;

pub use archives::check_archives;
pub use check::check;
pub use quarantine::damaged;
pub use repair::{Repaired, repair};
pub use scrub::scrub;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// Fault that was found.
    pub what: String,
    /// Advice.
    pub advice: &'static str,
}

/// Advice about what can be had again.
const REPAIR: &str = "`pipsqueak store repair` gets it again";
/// Advice about what is not needed.
const COLLECT: &str = "`pipsqueak store gc` removes it";
/// The advice about a distribution that was not stored from an archive alone.
const AGAIN: &str = "add the environments that have it, and deploy the functions, again";
/// The advice about a distribution that differs from its archive.
const FORGED: &str = "somebody has changed the store: remove what has it, and `pipsqueak store gc --grace 0` removes it; \
                      then add it again";
/// Advice about a catalog that itself is wrong.
const RESTORE: &str = "the catalog is damaged: stop the supervisor and restore the state folder from a backup, \
                       or remove it and add the environments again";

/// An environment's requirements, and the distributions that its lock says it is made of. Earlier versions
/// have stored what uv had chosen, before that was held to the digests which were asked for.
fn locked(environment: &StoredEnvironment) -> Result<(Wanted, Vec<Locked>), AddError> {
    let stored = lock::parse(&environment.lock)?;
    let wanted = Wanted::of(&environment.requirements, &environment.interpreter)?;
    let locked = wanted.restrict_to_hashes(stored.clone()).unwrap_or(stored);
    Ok((wanted, locked))
}

//! Whether what is stored is sound, and making it so again.
//!
//! `check` compares catalog, segments and views without reading all content, `scrub` reads all of
//! it, `check_archives` compares it with what it was unpacked from, `repair` gets again what is damaged. What is found damaged is quarantined: entered in the
//! catalog, and led to by no index until it is repaired.

mod archives;
mod check;
mod quarantine;
pub(crate) mod repair;
mod scrub;

use std::path::PathBuf;

use crate::catalog::StoredEnvironment;
use crate::ingest::AddError;
use crate::ingest::lock::{self, Locked};
use crate::ingest::wanted::Wanted;

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
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

/// What to do about what can be had again.
const REPAIR: &str = "`pipsqueak store repair` gets it again";
/// What to do about what is not needed.
const COLLECT: &str = "`pipsqueak store gc` removes it";
/// The advice about a distribution that was not stored from an archive alone.
const AGAIN: &str = "add the environments that have it, and deploy the functions, again";
/// The advice about a distribution that differs from its archive.
const FORGED: &str = "somebody has changed the store: remove what has it, and `pipsqueak store gc --grace 0` removes it; \
                      then add it again";
/// What to do where the catalog itself is wrong.
const RESTORE: &str = "the catalog is damaged: stop the supervisor and restore the state folder from a backup, \
                       or remove it and add the environments again";

/// An environment's requirements, and the distributions that its lock says it is made of. Earlier versions
/// have stored what uv had chosen, before that was held to the digests which were asked for.
fn locked(environment: &StoredEnvironment) -> Result<(Wanted, Vec<Locked>), AddError> {
    let stored = lock::parse(&environment.lock)?;
    let wanted = Wanted::of(&environment.requirements, &environment.interpreter)?;
    let locked = wanted.hold(stored.clone()).unwrap_or(stored);
    Ok((wanted, locked))
}

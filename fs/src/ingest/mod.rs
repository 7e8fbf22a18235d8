//! From requirements to stored distributions, in phases:
//!
//! - `requirement` reads lines that ask for packages;
//! - `resolve` has uv choose distributions, and builds what has no wheel;
//! - `archive` has what was chosen fetched, hashed, read as the hostile input that it may be, and unpacked;
//! - `bytecode` compiles it, `trace` records what imports of it read, and `commit` stores it.
//!
//! All that runs meanwhile is a job (`confine`). Of additions at the same time, `claims` says which of them
//! installs what.

pub mod archive;
pub mod bytecode;
pub mod claims;
pub mod commit;
pub mod confine;
pub mod credentials;
pub mod requirement;
pub mod resolve;
pub mod trace;
pub mod tryout;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::catalog::CatalogError;
use crate::store::StoreError;
use crate::view::merge::Conflict;
use crate::view::publish::ViewError;
use confine::ConfineError;

/// Reason why an environment could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The requirements cannot be met.
    #[error("{explanation}")]
    Unsatisfiable {
        /// Reason; in uv's words if it was uv that found out.
        explanation: String,
    },
    /// A package is there as source alone.
    #[error("{explanation}\n--allow-build builds it from source, in a sandbox without a network")]
    NoWheel {
        /// Normalised name.
        package: String,
        /// Words of uv.
        explanation: String,
    },
    /// uv failed otherwise, such as for lack of a network.
    #[error("uv could not {step}: {explanation}")]
    Uv {
        /// Step that failed.
        step: &'static str,
        /// Words of uv.
        explanation: String,
    },
    /// Archives could not be had.
    #[error("what is to be installed could not be fetched: {explanation}")]
    Fetch {
        /// Archives, and reasons.
        explanation: String,
    },
    /// Compiling failed: not for what a file holds, which is no failure.
    #[error("the packages could not be compiled: {explanation}")]
    Bytecode {
        /// Words of the compiler.
        explanation: String,
    },
    /// A job could not be run at all.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The lock is not as expected.
    #[error("uv's lock cannot be used: {0}")]
    Lock(String),
    /// A distribution is not what a wheel may install.
    #[error("{distribution} is refused: {reason}")]
    Hostile {
        /// The distribution, as far as it is known.
        distribution: String,
        /// Cause.
        reason: String,
    },
    /// The name is taken, for functions.
    #[error(
        "environment {name} is one that functions share by their requirements; take another name"
    )]
    OfFunctions {
        /// The name.
        name: String,
    },
    /// The name that functions would have is taken.
    #[error(
        "functions with these requirements share an environment {name}, and that name is taken; \
         remove what has it: pipsqueak env rm {name}"
    )]
    OfUser {
        /// The name.
        name: String,
    },
    /// Distributions that exclude each other.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A view.
    #[error(transparent)]
    View(ViewError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The file system.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
}

impl From<ViewError> for AddError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Conflict(conflict) => Self::Conflict(conflict),
            other => Self::View(other),
        }
    }
}

impl AddError {
    /// True if whoever asked can mend it by asking for something else.
    pub fn is_bad_input(&self) -> bool {
        matches!(
            self,
            Self::Unsatisfiable { .. }
                | Self::NoWheel { .. }
                | Self::Hostile { .. }
                | Self::Conflict(_)
                | Self::OfFunctions { .. }
                | Self::OfUser { .. }
                | Self::Confine(ConfineError::Space { .. })
        )
    }

    pub(crate) fn unsatisfiable(explanation: impl Into<String>) -> Self {
        Self::Unsatisfiable { explanation: explanation.into() }
    }

    pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> Self + use<'_> {
        move |source| Self::File { path: path.to_owned(), source }
    }
}

/// Makes a folder, and those that it is in, for everybody to read.
fn folder(path: &Path) -> Result<(), AddError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        folder(above)?;
    }
    match fs::create_dir(path) {
        // Another thread needs it, too.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made.map_err(AddError::at(path))?,
    }
    // Whatever the process lets others have by default.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(AddError::at(path))
}

/// Progress of an addition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Name of the step.
    pub step: String,
    /// Units that are done.
    pub done: u64,
    /// Units that there are to do; 0 if that is not known.
    pub total: u64,
    /// Unit of both.
    pub unit: Unit,
}

/// Unit of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Distributions, or others of which there are so many.
    Things,
    /// Bytes.
    Bytes,
}

impl Step {
    /// A step of which it is not known how far it is.
    pub fn begun(step: impl Into<String>) -> Self {
        Self { step: step.into(), done: 0, total: 0, unit: Unit::Things }
    }
}

//! What packages an environment is asked to have.

use serde::{Deserialize, Serialize};

use crate::ingest::AddError;
use crate::ingest::wanted::Wanted;
use crate::interpreter::Interpreter;

/// What packages an environment is to have. No part of it names a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirements {
    /// Requirements, to be resolved.
    Listed {
        /// Lines of a requirements file: a requirement each, with its `--hash` options, or an
        /// option such as `--extra-index-url`.
        requirements: Vec<String>,
        /// Lines of a constraints file, likewise.
        constraints: Vec<String>,
        /// Versions of Python that they are for, as PEP 440 writes them.
        requires_python: Option<String>,
        /// Whether what has no wheel may be built from source.
        #[serde(default)]
        allow_build: bool,
    },
    /// What somebody has resolved already.
    Locked {
        /// Text of a `pylock.toml` (PEP 751).
        lock: String,
    },
}

impl Requirements {
    /// Requirements that nothing constrains.
    pub fn of(requirements: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::Listed {
            requirements: requirements.into_iter().map(Into::into).collect(),
            constraints: Vec::new(),
            requires_python: None,
            allow_build: false,
        }
    }

    /// Refuses what is refused without looking anywhere: a lock that cannot be read, another Python
    /// than that of `interpreter`, addresses with credentials.
    pub fn check(&self, interpreter: &Interpreter) -> Result<(), AddError> {
        Wanted::of(self, interpreter).map(drop)
    }
}

impl Default for Requirements {
    fn default() -> Self {
        Self::of([""; 0])
    }
}

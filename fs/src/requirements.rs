//! What packages an environment is asked to have.

use serde::{Deserialize, Serialize};

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
        /// Whether a wheel or an archive says it, and not the user: then it may not lead to the machine.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_brought: bool,
    },
    /// What somebody has resolved already.
    Locked {
        /// Text of a `pylock.toml` (PEP 751).
        lock: String,
        /// Whether an archive has brought it, and not the user.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_brought: bool,
    },
}

impl Requirements {
    /// Requirements that nothing constrains.
    pub fn of(requirements: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::listed(requirements, false)
    }

    /// The same, where a package says it.
    #[cfg(test)]
    pub(crate) fn brought(requirements: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::listed(requirements, true)
    }

    fn listed(requirements: impl IntoIterator<Item = impl Into<String>>, is_brought: bool) -> Self {
        Self::Listed {
            requirements: requirements.into_iter().map(Into::into).collect(),
            constraints: Vec::new(),
            requires_python: None,
            allow_build: false,
            is_brought,
        }
    }
}

impl Default for Requirements {
    fn default() -> Self {
        Self::of([""; 0])
    }
}

//! Requirements of an environment.

use serde::{Deserialize, Serialize};

/// Packages that an environment is to have. No part of them names a file.
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
        /// True if what has no wheel may be built from source.
        #[serde(default)]
        allow_build: bool,
        /// True if a wheel or an archive says it, and not the user: then it may not lead to the machine.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_brought: bool,
    },
    /// A lock, which somebody has resolved already.
    Locked {
        /// Text of a `pylock.toml` (PEP 751).
        lock: String,
        /// True if an archive has brought it, and not the user.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_brought: bool,
    },
}

impl Requirements {
    /// Requirements that nothing constrains.
    pub fn of(requirements: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::listed(requirements, false)
    }

    /// Variant of [`Self::of`] for requirements that a package has.
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

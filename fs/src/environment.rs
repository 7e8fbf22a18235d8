//! Environments as they are asked for and as they are stored.

use crate::catalog::StoredEnvironment;
use crate::interpreter::Interpreter;
use crate::requirements::Requirements;

/// What an environment is to be.
#[derive(Debug, Clone)]
pub struct EnvironmentSpec {
    /// Its name.
    pub name: String,
    /// What packages it is to have.
    pub requirements: Requirements,
    /// Its interpreter.
    pub interpreter: Interpreter,
    /// One of this machine, for uv to work with.
    pub host: Interpreter,
    /// Whether the newest versions are taken, not those that other environments have.
    pub upgrade: bool,
}

/// An environment as it is stored.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// Digest of its distributions and interpreter.
    pub digest: String,
    /// What it was made from.
    pub requirements: Requirements,
    /// Its interpreter.
    pub interpreter: Interpreter,
    /// Its distributions, by name.
    pub distributions: Vec<Distribution>,
    /// Files in its view.
    pub files: u64,
    /// Sum of their sizes in bytes.
    pub bytes: u64,
}

/// A distribution of an environment.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Digest of its files.
    pub digest: String,
    /// Whether the requirements ask for it themselves.
    pub requested: bool,
    /// Top-level names that can be imported.
    pub modules: Vec<String>,
}

/// What a private installation has.
#[derive(Debug, Clone)]
pub struct Plain {
    /// Top-level names of what was asked for.
    pub modules: Vec<String>,
}

impl Distribution {
    /// What it is called in the mount's folder of distributions.
    pub fn mount_name(&self) -> String {
        distribution_name(&self.name, &self.version, &self.digest)
    }
}

impl Environment {
    /// The names in the mount that it brings: its own and those of its distributions.
    pub fn mount_names(&self) -> Vec<String> {
        let distributions = self.distributions.iter().map(Distribution::mount_name);
        distributions.chain([self.name.clone()]).collect()
    }

    pub(crate) fn of(stored: StoredEnvironment) -> Self {
        let distributions =
            stored.distributions.into_iter().map(|(stored, requested)| Distribution {
                name: stored.name,
                version: stored.version,
                digest: stored.digest,
                requested,
                modules: stored.modules,
            });
        Self {
            name: stored.name,
            digest: stored.view,
            requirements: stored.requirements,
            interpreter: stored.interpreter,
            distributions: distributions.collect(),
            files: stored.files,
            bytes: stored.bytes,
        }
    }
}

/// What a distribution is called in the mount's folder of them.
pub(crate) fn distribution_name(name: &str, version: &str, digest: &str) -> String {
    format!("{name}-{version}-{}", &digest[..16.min(digest.len())])
}

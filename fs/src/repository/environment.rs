//! Environments as they are asked for and as they are stored.

use crate::catalog::{Owner, StoredDistribution, StoredEnvironment};
use crate::id::Digest;
use crate::interpreter::Interpreter;
use crate::requirements::Requirements;
use crate::view::published::distribution_name;

/// Specification of an environment.
#[derive(Debug, Clone)]
pub struct EnvironmentSpec {
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Packages that it is to have.
    pub requirements: Requirements,
    /// Interpreter.
    pub interpreter: Interpreter,
    /// Interpreter of this machine, for uv to work with.
    pub host: Interpreter,
    /// True if the newest versions are taken, not those that other environments have.
    pub upgrade: bool,
}

/// An environment as it is stored.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Digest of its distributions and interpreter: the same for environments that have the same.
    pub digest: String,
    /// Digest of its view, which is its own.
    pub view: String,
    /// Requirements that it was made from.
    pub requirements: Requirements,
    /// Interpreter.
    pub interpreter: Interpreter,
    /// Distributions, by name.
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
    /// True if the requirements ask for it themselves.
    pub requested: bool,
    /// Top-level names that can be imported.
    pub modules: Vec<String>,
}

/// A private installation.
#[derive(Debug, Clone)]
pub struct Plain {
    /// Top-level names of what was asked for.
    pub modules: Vec<String>,
}

impl Distribution {
    /// Name in the mount's folder of distributions.
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
        let members = stored.distributions.iter().map(|(member, _)| member);
        let digest = digest(&stored.interpreter, members);
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
            owner: stored.owner,
            digest,
            view: stored.view,
            requirements: stored.requirements,
            interpreter: stored.interpreter,
            distributions: distributions.collect(),
            files: stored.files,
            bytes: stored.bytes,
        }
    }
}

/// Name among the distributions of a view of what makes it look like an environment.
pub(crate) const VENV: &str = "venv";

/// Digest of what an environment has: its interpreter and its distributions.
pub(crate) fn digest<'a>(
    interpreter: &Interpreter,
    members: impl IntoIterator<Item = &'a StoredDistribution>,
) -> String {
    let mut text = interpreter.executable.to_string_lossy().into_owned();
    text.push_str(&interpreter.pyvenv_cfg());
    for member in members {
        for part in [&member.name, &member.version, &member.digest] {
            text.push_str(part);
            text.push('\n');
        }
    }
    Digest::of(text.as_bytes()).to_string()
}

/// Digest of the view of an environment of this name. Two names never share one: the kernel knows a
/// folder by one path, and would move it from the one to the other at each use.
pub(crate) fn view(name: &str, digest: &str) -> String {
    Digest::of(format!("{name}\n{digest}").as_bytes()).to_string()
}

//! Making of environments in sandboxes, with an interpreter that is inspected first.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipsqueak_fs::{Environment, EnvironmentSpec, Interpreter, Owner, Requirements};

use super::audience::{Audience, told};
use super::error::EnvironmentsError;
use super::installer::Installer;
use super::interpreter::inspect;
use super::shared::Shared;
use super::tree::Tree;

/// An environment to be made.
#[derive(Debug)]
pub struct Wanted {
    /// Owner of the environment.
    pub owner: Owner,
    /// Packages of the environment.
    pub requirements: Requirements,
    /// Interpreter of the environment; absent for the default.
    pub python: Option<PathBuf>,
    /// Version of the interpreter, if that need not be on this machine.
    pub python_version: Option<String>,
    /// True if the newest versions are taken, not those that other environments have.
    pub upgrade: bool,
}

impl Shared {
    pub(super) fn add(
        &self,
        name: &str,
        wanted: Wanted,
        audience: &Arc<Audience>,
    ) -> Result<Environment, EnvironmentsError> {
        let Wanted { owner, requirements, python, python_version, upgrade } = wanted;
        let host = inspect(python.as_deref().unwrap_or(&self.python))?;
        let interpreter = match python_version {
            Some(version) => of_version(version, &host, python.is_some())?,
            None => host.clone(),
        };
        let installer = Installer::new(self.sandboxes.clone(), host.clone(), self.runtime.clone());
        let installer = installer.of(audience);
        let name = name.to_owned();
        let spec = EnvironmentSpec { name, owner, requirements, interpreter, host, upgrade };
        // From here on the name may stand for another environment, even if publishing fails.
        let _changing = self.trees.changing(std::slice::from_ref(&spec.name));
        let told = &mut |step| audience.tell(&told(step));
        let environment = self.repository.add(&installer, &spec, told)?;
        let io = |error| EnvironmentsError::Io { name: spec.name.clone(), error };
        self.publish(&environment.mount_names()).map_err(io)?;
        Ok(environment)
    }

    pub(super) fn install_private(
        &self,
        name: String,
        requirements: Requirements,
        audience: &Arc<Audience>,
    ) -> Result<Arc<Tree>, EnvironmentsError> {
        let io = |error| EnvironmentsError::Io { name: name.clone(), error };
        let interpreter = inspect(&self.python)?;
        let installer =
            Installer::new(self.sandboxes.clone(), interpreter.clone(), self.runtime.clone());
        let installer = installer.of(audience);
        let place = self.private.as_deref().unwrap_or(Path::new("/nonexistent"));
        let folder = tempfile::Builder::new().prefix("install-").tempdir_in(place).map_err(io)?;
        let spec = EnvironmentSpec {
            name: name.clone(),
            owner: Owner::Functions,
            requirements,
            interpreter: interpreter.clone(),
            host: interpreter.clone(),
            upgrade: false,
        };
        let plain = self.repository.install_plain(&installer, &spec, folder.path())?;
        Ok(Arc::new(Tree::private(name, plain.modules, interpreter, Arc::new(folder))))
    }
}

/// An interpreter of this version: the host's if that has the version, or else one that is elsewhere.
fn of_version(
    version: String,
    host: &Interpreter,
    is_named: bool,
) -> Result<Interpreter, EnvironmentsError> {
    if host.is_of(&version) {
        return Ok(host.clone());
    }
    if is_named {
        let path = host.executable.display();
        let reason = format!("{path} is Python {}", host.version);
        return Err(EnvironmentsError::Version { version, reason });
    }
    Interpreter::elsewhere(&version, host).ok_or_else(|| {
        let reason = "it is no version of Python 3, such as 3.12".to_owned();
        EnvironmentsError::Version { version, reason }
    })
}

//! Tries of an interpreter and of uv where jobs run: the first steps of each addition, without a store.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::ingest::bytecode::Share;
use crate::ingest::confine::{Confine, Stop};
use crate::ingest::resolve::search_scope::IndexOptions;
use crate::ingest::resolve::uv::Uv;
use crate::ingest::resolve::wanted::Wanted;
use crate::ingest::{AddError, bytecode};
use crate::interpreter::Interpreter;

/// Has an interpreter compile an environment without packages.
pub fn try_python(confine: &dyn Confine, interpreter: &Interpreter) -> Result<(), AddError> {
    let (target, out) = (folder()?, folder()?);
    let packages = target.path().join(interpreter.site_packages());
    fs::create_dir_all(&packages).map_err(AddError::at(&packages))?;
    let whole = (Share::All, &Stop::default());
    bytecode::compile(confine, interpreter, target.path(), out.path(), whole)
}

/// Has uv make an environment without packages.
pub fn try_uv(confine: &dyn Confine, uv: &Path, interpreter: &Interpreter) -> Result<(), AddError> {
    let (work, target) = (folder()?, folder()?);
    let uv = Uv {
        binary: uv,
        cache: None,
        interpreter,
        host: interpreter,
        work: work.path(),
        built: None,
        index: &IndexOptions::default(),
    };
    uv.install_for_building(confine, &Wanted::by_package(&[])?, target.path())
}

/// A folder that jobs can read.
fn folder() -> Result<TempDir, AddError> {
    let made = tempfile::tempdir().map_err(AddError::at(&std::env::temp_dir()))?;
    let readable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(made.path(), readable).map_err(AddError::at(made.path()))?;
    Ok(made)
}

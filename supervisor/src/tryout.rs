//! A trial of the programs that an instance uses, in a sandbox without an instance: for `pipsqueak doctor`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use pipsqueak_fs::{Interpreter, try_python, try_uv};
use tokio::runtime::Handle;

use crate::environment::Installer;
use crate::machine::cgroups;
use crate::network::Nat;
use crate::sandbox::Sandboxes;

/// Makes an environment without packages with an interpreter, and with uv if it is given. Blocks.
pub fn try_programs(
    python: &Path,
    uv: Option<&Path>,
    runtime: Handle,
) -> Result<(), Box<dyn Error>> {
    let interpreter = Interpreter::inspect(python)?;
    let root = tempfile::tempdir()?;
    let id = format!("{:08x}", std::process::id());
    let groups = cgroups::Instance::create(&id)?;
    let nat = Nat::new(&id, None, root.path(), runtime.clone())?;
    let binary = std::env::current_exe()?;
    let sandboxes = Arc::new(Sandboxes::start(&binary, groups, nat, root.path(), runtime.clone())?);
    let installer = Installer::new(sandboxes.clone(), interpreter.clone(), runtime);
    let tried = match uv {
        Some(uv) => try_uv(&installer, uv, &interpreter),
        None => try_python(&installer, &interpreter),
    };
    sandboxes.stop()?;
    Ok(tried?)
}

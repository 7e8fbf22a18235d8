//! The supervisor: its program and its log.

use std::path::{Path, PathBuf};

use pipsqueak::settings::find_program;

use super::failure::{Exit, Failure};

/// The supervisor's log, in the folder of its socket.
pub const LOG: &str = "pipsqueakd.log";

/// The supervisor that was installed with this program, or else one on the PATH.
pub fn find() -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().map(|own| own.with_file_name("pipsqueakd"));
    if let Ok(path) = beside.and_then(|path| find_program(&path, None)) {
        return Ok(path);
    }
    let search = std::env::var_os("PATH");
    find_program(Path::new("pipsqueakd"), search.as_deref()).map_err(|_| Failure::Start {
        exit: Exit::Internal,
        message: "pipsqueakd is neither beside this program nor on the PATH; install it beside it"
            .to_owned(),
    })
}

//! An environment of several distributions that lie in folders of their own: the same files, for those
//! that import them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::ingest::archive::unpacked::Unpacked;
use crate::ingest::{AddError, folder};
use crate::interpreter::Interpreter;

/// Makes the environment in `root`. Of files that lie at one path the first is there.
pub fn merge<'a>(
    all: impl Iterator<Item = &'a Unpacked>,
    interpreter: &Interpreter,
    root: &Path,
) -> Result<(), AddError> {
    folder(root)?;
    folder(&root.join("bin"))?;
    folder(&root.join("lib"))?;
    for (path, target) in interpreter.links() {
        let path = root.join(path);
        symlink(target, &path).map_err(AddError::at(&path))?;
    }
    let text = root.join("pyvenv.cfg");
    fs::write(&text, interpreter.pyvenv_cfg()).map_err(AddError::at(&text))?;
    let mut made = HashSet::new();
    for one in all {
        for file in &one.files {
            let (from, to) = (one.path(file), root.join(&file.path));
            let above = file.path.rsplit_once('/').map_or("", |(above, _)| above);
            if made.insert(above) {
                folder(&root.join(above))?;
            }
            match fs::hard_link(&from, &to) {
                // It lies in memory, and the environment on the disk.
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    fs::copy(&from, &to).map_err(AddError::at(&from))?;
                }
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(AddError::at(&from)(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

//! The folder with a version's code, kept as long as an invocation runs it.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sync::{Mutex, lock};

/// Folder of code. The folder stays when this is dropped, unless the version was superseded.
#[derive(Debug)]
pub struct Code {
    path: PathBuf,
    turn: Arc<Mutex<()>>,
    is_superseded: AtomicBool,
}

impl Code {
    /// Folder of a version that new calls run. Only the holder of `turn` changes the folder's parent.
    pub fn new(path: PathBuf, turn: Arc<Mutex<()>>) -> Self {
        Self { path, turn, is_superseded: AtomicBool::new(false) }
    }

    /// Marks the code as superseded: new calls do not run it, and the folder goes with the last call
    /// that does.
    pub fn supersede(&self) {
        self.is_superseded.store(true, Ordering::SeqCst);
    }
}

impl Deref for Code {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        if !self.is_superseded.load(Ordering::SeqCst) {
            return;
        }
        let (path, turn) = (std::mem::take(&mut self.path), self.turn.clone());
        let remove = move || {
            let _turn = lock(&turn);
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "removing the code of an old version");
            }
            // Removes the parent only if it is empty: then the function was removed.
            let _ = path.parent().map(fs::remove_dir);
        };
        match tokio::runtime::Handle::try_current() {
            // If the supervisor ends first, its next start removes the folder.
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

//! The folder with a version's code, which is there as long as somebody runs it.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sync::{Mutex, lock};

/// The folder. It stays when this is dropped, unless another version has taken its place.
#[derive(Debug)]
pub struct Code {
    path: PathBuf,
    turn: Arc<Mutex<()>>,
    is_superseded: AtomicBool,
}

impl Code {
    /// Of a version that new calls run. Who holds `turn` is the only one that changes what the folder
    /// is in.
    pub fn new(path: PathBuf, turn: Arc<Mutex<()>>) -> Self {
        Self { path, turn, is_superseded: AtomicBool::new(false) }
    }

    /// New calls do not run it any more: it goes with the last that does.
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
            // Goes only where the function was removed.
            let _ = path.parent().map(fs::remove_dir);
        };
        match tokio::runtime::Handle::try_current() {
            // What the end of the supervisor cuts off is done by the next start.
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

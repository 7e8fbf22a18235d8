//! Writes that outlive a loss of power, each step in its order.

use std::fs;
use std::io;
use std::path::Path;

/// Makes the files and folders below a folder durable, and the folder itself.
pub fn tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            tree(&path)?;
        } else if kind.is_file() {
            // A link is as durable as the folder that it is in.
            step("sync", &path)?;
            fs::File::open(&path)?.sync_all()?;
        }
    }
    self::folder(folder)
}

/// Makes the entries of a folder durable.
pub fn folder(path: &Path) -> io::Result<()> {
    step("sync", path)?;
    pipsqueak_fs::durable::sync(path)
}

/// Replaces a file that only root may read. A reader, and a restart, find the old or the new content, whole.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    step("replace", path)?;
    pipsqueak_fs::durable::replace_private(path, content)?;
    step("replaced", path)
}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "a step fails where a test has it so")]
fn step(_what: &'static str, _path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub use steps::{of, step};

#[cfg(test)]
mod steps {
    use std::cell::{Cell, RefCell};
    use std::io;
    use std::path::{Path, PathBuf};

    thread_local! {
        static STEPS: RefCell<Vec<(&'static str, PathBuf)>> = const { RefCell::new(Vec::new()) };
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Notes a step, or fails in its place if the test says so.
    pub fn step(what: &'static str, path: &Path) -> io::Result<()> {
        STEPS.with_borrow_mut(|steps| steps.push((what, path.to_owned())));
        let left = LEFT.get();
        LEFT.set(left.and_then(|left| left.checked_sub(1)));
        if left == Some(0) { Err(io::Error::other("the disk fails")) } else { Ok(()) }
    }

    /// Does work whose step number `fails`, counted from 0, fails. Returns the steps that the work reached.
    pub fn of<T>(
        fails: Option<usize>,
        work: impl FnOnce() -> T,
    ) -> (T, Vec<(&'static str, PathBuf)>) {
        STEPS.take();
        LEFT.set(fails);
        let done = work();
        LEFT.set(None);
        (done, STEPS.take())
    }
}

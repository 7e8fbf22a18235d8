//! Changes of files that outlive a crash, and the points at which one makes a difference.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Writes a file so that there is always the old or the new one, whole and durable.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, |new| write(new, content))
}

/// Variant of [`replace`] whose file its owner alone may read.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, |new| {
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(new)?;
        // It may be left of a crash.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        file.sync_all()
    })
}

/// Makes a database of SQLite one that its owner alone may read, before it is opened. What SQLite puts beside
/// it has its permissions.
pub fn make_private(database: &Path) -> io::Result<()> {
    File::options().append(true).create(true).mode(0o600).open(database)?;
    for ending in ["", "-wal", "-shm", "-journal"] {
        let mut path = database.as_os_str().to_owned();
        path.push(ending);
        match fs::set_permissions(&path, Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn replace_with(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension("new");
    let written = write(&new).and_then(|()| {
        crash::point();
        fs::rename(&new, path)
    });
    if let Err(error) = written {
        // On a disk that is full, what is half written is in the way.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    crash::point();
    path.parent().map_or(Ok(()), sync)
}

/// Removes a file, if it is there; durable once its folder is synced.
pub fn remove(path: &Path) -> io::Result<()> {
    crash::point();
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a folder's entries durable.
pub fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes a file; its content is durable, and its name once its folder is synced.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Crashes, in tests: the work ends at the point that was chosen.
pub mod crash {
    pub use armed::*;

    #[cfg(not(test))]
    mod armed {
        /// A crash here would leave something else than one before or after. Does nothing.
        pub fn point() {}
    }

    #[cfg(test)]
    mod armed {
        use std::cell::Cell;
        use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

        thread_local! {
            static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
        }

        /// Said by a crash.
        #[derive(Debug)]
        struct Crash;

        /// A crash here would leave something else than one before or after.
        pub fn point() {
            let left = LEFT.get();
            LEFT.set(left.and_then(|left| left.checked_sub(1)));
            if left == Some(0) {
                resume_unwind(Box::new(Crash));
            }
        }

        /// Does work that crashes at point number `at`, counted from 0; `None` if it did.
        pub fn at<T>(at: u64, work: impl FnOnce() -> T) -> Option<T> {
            LEFT.set(Some(at));
            let done = catch_unwind(AssertUnwindSafe(work));
            LEFT.set(None);
            match done {
                Ok(value) => Some(value),
                Err(said) if said.is::<Crash>() => None,
                Err(other) => resume_unwind(other),
            }
        }
    }
}

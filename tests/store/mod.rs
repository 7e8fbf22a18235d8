//! Maintenance of the store by its commands.

pub mod collecting;
pub mod damage;
pub mod full;
pub mod orders;
pub mod roots;

use std::path::{Path, PathBuf};

use crate::harness::Instance;

/// The folder of an environment's packages in the mount.
fn site(instance: &Instance, environment: &str) -> PathBuf {
    let lib = instance.mount().join("envs").join(environment).join("lib");
    let python = std::fs::read_dir(&lib).unwrap().next().unwrap().unwrap().path();
    python.join("site-packages")
}

/// The view's own interpreter.
fn python(instance: &Instance, environment: &str) -> PathBuf {
    instance.mount().join("envs").join(environment).join("bin/python")
}

/// Reads every file below a folder; returns the number of files.
fn read_all(folder: &Path) -> std::io::Result<u64> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = std::fs::symlink_metadata(&path)?;
        if kind.is_dir() {
            count += read_all(&path)?;
        } else if kind.is_file() {
            std::fs::read(&path)?;
            count += 1;
        }
    }
    Ok(count)
}

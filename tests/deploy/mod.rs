//! Deployable sources, the search for their entry points, and the arguments and results of handlers.

pub mod applications;
pub mod archives;
pub mod entry;
pub mod failures;
pub mod openlambda;
pub mod sources;
pub mod versions;

use std::path::{Path, PathBuf};

use crate::harness::{Instance, Output};

/// Writes files into a new folder of the test; returns its path.
fn folder(instance: &Instance, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = instance.scratch().join(name);
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn deploy(instance: &Instance, name: &str, source: &Path, flags: &[&str]) -> Output {
    instance.call(&[&["deploy", name, source.to_str().unwrap()], flags].concat())
}

/// Deploys a source that must be deployable; returns the message.
fn deployed(instance: &Instance, name: &str, source: &Path, flags: &[&str]) -> String {
    let output = deploy(instance, name, source, flags);
    assert_eq!(output.code, 0, "{output:?}");
    output.stdout + &output.stderr
}

fn refused(output: &Output, says: &str) {
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains(says) && !output.stderr.contains("panicked"), "{output:?}");
}

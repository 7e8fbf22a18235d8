//! Modules in a folder, as the import system would find them there.

use std::fs;
use std::path::Path;

/// Calls `look` with the names of modules and subfolders of a folder; a subfolder may be a package.
pub fn each_module(folder: &str, mut look: impl FnMut(&str)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        match name.split_once('.') {
            None => look(name),
            Some((name, ending)) if is_of_module(ending) => look(name),
            Some(_) => {}
        }
    }
}

/// True unless the name, from [`each_module`], is of a subfolder without code of its own.
pub fn is_module(folder: &str, name: &str) -> bool {
    let path = Path::new(folder).join(name);
    let Ok(entries) = fs::read_dir(path) else { return true };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let ending = name.to_str().and_then(|name| name.strip_prefix("__init__."));
        ending.is_some_and(is_of_module)
    })
}

fn is_of_module(ending: &str) -> bool {
    matches!(ending, "py" | "pyc") || ending.rsplit('.').next() == Some("so")
}

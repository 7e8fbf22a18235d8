//! Names that a distribution brings at the top level.

use std::collections::BTreeSet;

/// Top-level names of a distribution's files: single modules, extension modules, and packages with an
/// `__init__`.
pub fn modules<'a>(files: impl Iterator<Item = &'a str>, site_packages: &str) -> Vec<String> {
    let below = files.filter_map(|path| path.strip_prefix(site_packages)?.strip_prefix('/'));
    let names: BTreeSet<&str> = below
        .filter_map(|path| match path.split_once('/') {
            None => {
                let plain = path.strip_suffix(".py");
                plain.or_else(|| path.strip_suffix(".so").and_then(|so| so.split('.').next()))
            }
            Some((package, "__init__.py")) => Some(package),
            Some(_) => None,
        })
        .filter(|name| {
            !name.starts_with('_')
                && name.chars().all(|c| c.is_alphanumeric() || c == '_')
                && !matches!(*name, "test" | "tests" | "conftest" | "setup")
        })
        .collect();
    names.into_iter().map(ToOwned::to_owned).collect()
}

//! Imports from a view: which distribution brings which module, and which modules a
//! module's import needs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::environment::VENV;
use super::{Repository, RepositoryError};
use crate::trace::Trace;

/// The modules of a view.
#[derive(Debug, Default)]
pub struct Imports {
    /// Digest of the distribution that brings a module, by its full name.
    owners: HashMap<String, String>,
    /// Others that each distribution requires by its metadata, by digest.
    required: BTreeMap<String, BTreeSet<String>>,
    trace: Trace,
}

impl Repository {
    /// The modules of a view. Blocks.
    pub fn imports(&self, view: &str) -> Result<Imports, RepositoryError> {
        let unknown = || RepositoryError::Unknown(view.to_owned());
        let stored = self.catalog.view(view)?.ok_or_else(unknown)?;
        let interpreter = stored.interpreter.ok_or_else(unknown)?;
        let site = format!("{}/", interpreter.site_packages());
        let (mut owners, mut traces) = (HashMap::new(), Vec::new());
        let mut metadata = HashMap::new();
        let parts: Vec<_> = stored.parts.into_iter().filter(|part| part.name != VENV).collect();
        for part in &parts {
            for (path, object) in self.catalog.objects_of(part.id)? {
                let Some(path) = path.strip_prefix(&site) else { continue };
                if is_metadata(path) {
                    metadata.insert(part.id, object);
                }
            }
            for (path, _) in self.catalog.files(part.id)? {
                if let Some(module) = path.strip_prefix(&site).and_then(module_at) {
                    owners.insert(module, part.digest.clone());
                }
            }
            let trace = self.catalog.trace(part.id)?;
            // It is there for speed alone.
            traces.extend(trace.and_then(|bytes| Trace::decode(&bytes).ok()));
        }
        let required = self.required(view, &parts, &metadata)?;
        Ok(Imports { owners, required, trace: Trace::union(traces) })
    }
}

impl Imports {
    /// Digest of the distribution that brings a module.
    pub fn owner(&self, module: &str) -> Option<&str> {
        self.owners.get(module).map(String::as_str)
    }

    /// Modules and all of distributions that importing them was seen to import.
    pub fn closure<'a>(&'a self, modules: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
        for module in modules {
            found.insert(module.to_owned());
            self.trace.walk(module, &mut seen, &mut |name, _| {
                found.insert(name.to_owned());
            });
        }
        found.retain(|name| self.owners.contains_key(name));
        found
    }

    /// Requirements of each distribution: others that its metadata names, and its modules import or look
    /// for, by digest.
    pub fn requirements(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let required = self
            .required
            .iter()
            .map(|(digest, others)| (digest.as_str(), others.iter().map(String::as_str).collect()));
        let mut requirements: BTreeMap<&str, BTreeSet<&str>> = required.collect();
        for (name, module) in &self.trace.modules {
            let Some(own) = self.owner(name) else { continue };
            // Also those that were not there when this was recorded, and are in this view.
            let needed = module.needs.iter().filter_map(|needed| self.owner(needed));
            requirements.entry(own).or_default().extend(needed.filter(|other| *other != own));
        }
        requirements
    }

    /// Pairs of modules of distributions of which the first needs the second.
    pub fn needs(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_owned = |name: &str| self.owners.contains_key(name);
        let modules = self.trace.modules.iter().filter(move |(name, _)| is_owned(name));
        modules.flat_map(move |(name, module)| {
            let needed = module.needs.iter().filter(move |needed| is_owned(needed));
            needed.map(move |needed| (name.as_str(), needed.as_str()))
        })
    }
}

/// True if a file below `site-packages` is a distribution's metadata.
fn is_metadata(path: &str) -> bool {
    let folder = path.strip_suffix("/METADATA");
    folder.is_some_and(|folder| folder.ends_with(".dist-info") && !folder.contains('/'))
}

/// The module that a file below `site-packages` is.
fn module_at(path: &str) -> Option<String> {
    let (folder, file) = path.rsplit_once('/').map_or(("", path), |(folder, file)| (folder, file));
    let stem = match file.strip_suffix(".py") {
        Some(stem) => stem,
        // `name.cpython-311-x86_64-linux-gnu.so`, `name.abi3.so` or `name.so`.
        None => file.strip_suffix(".so")?.split('.').next()?,
    };
    let parts = folder.split('/').filter(|part| !part.is_empty());
    let parts: Vec<_> = parts.chain((stem != "__init__").then_some(stem)).collect();
    let is_name = |part: &&str| {
        !part.is_empty() && part.chars().all(|letter| letter == '_' || letter.is_alphanumeric())
    };
    (!parts.is_empty() && parts.iter().all(is_name)).then(|| parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Module;

    #[test]
    fn files_are_modules_by_their_place() {
        for (path, module) in [
            ("six.py", Some("six")),
            ("numpy/__init__.py", Some("numpy")),
            ("numpy/_core/_umath.cpython-311-x86_64-linux-gnu.so", Some("numpy._core._umath")),
            ("_cffi.abi3.so", Some("_cffi")),
            ("numpy-2.dist-info/METADATA", None),
            ("numpy.libs/libblas-1.so", None),
            ("a/data-files/x.py", None),
            ("__init__.py", None),
            ("x.pth", None),
        ] {
            assert_eq!(module_at(path).as_deref(), module, "{path}");
        }
    }

    #[test]
    fn needs_lead_to_distributions_also_where_they_were_not_there_when_it_was_recorded() {
        let owners = [("a", "A"), ("a.b", "A"), ("c", "C"), ("later", "L")];
        let owners = owners.map(|(name, digest)| (name.to_owned(), digest.to_owned())).into();
        let module = |needs: &[&str]| Module {
            needs: needs.iter().map(|&name| name.to_owned()).collect(),
            ..Module::default()
        };
        let modules = [
            ("a".to_owned(), module(&["a.b", "json", "later"])),
            ("a.b".to_owned(), module(&["c"])),
            ("c".to_owned(), module(&[])),
        ];
        let trace = Trace { modules: modules.into(), ..Trace::default() };
        let required = [("A".to_owned(), ["D".to_owned()].into())].into();
        let imports = Imports { owners, required, trace };
        let closure: Vec<_> = imports.closure(["a", "gone"]).into_iter().collect();
        assert_eq!(closure, ["a", "a.b", "c"]);
        assert_eq!(imports.requirements()["A"], ["C", "D", "L"].into());
        assert!(imports.needs().any(|pair| pair == ("a.b", "c")));
    }
}

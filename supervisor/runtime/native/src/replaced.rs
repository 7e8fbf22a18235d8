//! Imports that replace objects in other packages' modules: code that imports in another order, or leaves
//! one of them out, sees other objects there.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::contents::{Kinds, attributes};
use crate::names::{Names, items};
use crate::surroundings::{each, values};

/// Dictionaries with the names that messages give them.
type Named<'py> = Vec<(String, Bound<'py, PyDict>)>;

/// Modules as they were at the last look.
#[pyclass]
#[derive(Default)]
pub struct Held {
    modules: HashMap<String, usize>,
    names: HashMap<String, Seen>,
}

/// The names of a module, and a digest that shows cheaply that nothing has changed.
struct Seen {
    names: Names,
    /// Dictionaries and lists that the names stand for, and the attribute dictionaries of objects.
    within: Vec<Py<PyAny>>,
    digest: u64,
}

#[pymethods]
impl Held {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Names of objects that were replaced since the last call, outside of package `top`. `modules` is
    /// `sys.modules`, `tables` has the interpreter's modules and classes, `packages` all other modules.
    fn replaced(
        &mut self,
        py: Python<'_>,
        top: &str,
        modules: &Bound<'_, PyDict>,
        tables: Named<'_>,
        packages: Named<'_>,
    ) -> Vec<String> {
        let (mut found, modules) = (Vec::new(), values(modules));
        for (name, module) in &modules {
            // A removed module is no replacement, because the next import brings it back.
            if self.modules.get(name).is_some_and(|before| before != module) {
                found.push((name.clone(), format!("sys.modules[{name:?}]")));
            }
        }
        self.modules = modules;
        let tables = tables.into_iter().map(|(name, dict)| (name, dict, true));
        let packages = packages.into_iter().map(|(name, dict)| (name, dict, false));
        for (name, dict, is_table) in tables.chain(packages) {
            let known = self.names.get(&name).filter(|known| known.names.dict.is(&dict));
            if known.is_some_and(|known| known.is_untouched(py)) {
                continue;
            }
            let now = if is_table { Seen::of_table(&dict) } else { Seen::of(&name, &dict) };
            let changed = known.and_then(|known| known.names.replaced(&now.names, py));
            found.extend(changed.map(|changed| (name.clone(), format!("{name}.{changed}"))));
            self.names.insert(name, now);
        }
        found.retain(|(name, _)| name.split('.').next() != Some(top));
        found.into_iter().map(|(_, text)| text).collect()
    }
}

impl Seen {
    fn of(name: &str, dict: &Bound<'_, PyDict>) -> Self {
        let (mut kinds, mut within) = (Kinds::new(name), Vec::new());
        each(dict, |_, value| {
            // SAFETY: the dictionary refers to the object.
            let object = unsafe { Bound::ref_from_ptr(dict.py(), &value) };
            if object.is_instance_of::<PyDict>() || object.is_instance_of::<PyList>() {
                within.push(object.clone().unbind());
            } else if kinds.has_attributes(object) {
                within.extend(attributes(object).map(|dict| dict.into_any().unbind()));
            }
            true
        });
        Self::with(Names::of(name, dict), within, dict.py())
    }

    fn of_table(dict: &Bound<'_, PyDict>) -> Self {
        Self::with(Names::of_table(dict), Vec::new(), dict.py())
    }

    fn with(names: Names, within: Vec<Py<PyAny>>, py: Python<'_>) -> Self {
        let mut seen = Self { names, within, digest: 0 };
        seen.digest = seen.look(py);
        seen
    }

    fn is_untouched(&self, py: Python<'_>) -> bool {
        self.digest == self.look(py)
    }

    /// A digest of all addresses.
    fn look(&self, py: Python<'_>) -> u64 {
        let mut digest = Digest::default();
        digest.entries(self.names.dict.bind(py));
        for object in &self.within {
            let object = object.bind(py);
            if let Ok(dict) = object.cast::<PyDict>() {
                digest.entries(dict);
            } else if let Ok(list) = object.cast::<PyList>() {
                items(list, list.len()).for_each(|item| digest.add(item));
            }
        }
        digest.0
    }
}

/// A digest of addresses, in the manner of the compiler's own hash tables: each look has some 100,000
/// addresses.
#[derive(Default)]
struct Digest(u64);

impl Digest {
    fn add(&mut self, address: usize) {
        self.0 = (self.0.rotate_left(5) ^ address as u64).wrapping_mul(0x51_7c_c1_b7_27_22_0a_95);
    }

    fn entries(&mut self, dict: &Bound<'_, PyDict>) {
        each(dict, |key, value| {
            self.add(key as usize);
            self.add(value as usize);
            true
        });
    }
}

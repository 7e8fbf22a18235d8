//! Packages' modules as they were once a zygote had imported all, for comparison in its child.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::contents::Contents;
use crate::names::Names;

/// Packages' modules, by their numbers.
#[derive(Default)]
pub struct Kept(HashMap<usize, Module>);

struct Module {
    name: String,
    contents: Contents,
    names: Names,
}

/// The code that may have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The function's code: every difference counts.
    Function,
    /// The child's own imports: only replaced objects count, as in a zygote.
    Import,
}

impl Kept {
    /// Records modules by name; `find` returns a module's number.
    pub fn of(
        packages: Vec<(String, Bound<'_, PyDict>)>,
        find: impl Fn(&str) -> Option<usize>,
    ) -> Self {
        let modules = packages.into_iter().filter_map(|(name, dict)| {
            let number = find(&name)?;
            let contents = Contents::of(&name, &dict);
            let names = Names::of(&name, &dict);
            Some((number, Module { name, contents, names }))
        });
        Self(modules.collect())
    }

    /// A change in the modules of these numbers.
    pub fn change(&self, py: Python<'_>, numbers: &[usize], actor: Actor) -> Option<String> {
        numbers.iter().filter_map(|number| self.0.get(number)).find_map(|module| {
            let Module { name, contents, names } = module;
            let changed = match actor {
                Actor::Function => contents.change(py, name),
                Actor::Import => names.change(py, name),
            };
            Some(format!("{name}.{}", changed?))
        })
    }
}

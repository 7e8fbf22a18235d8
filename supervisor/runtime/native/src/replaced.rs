//! What an import replaces in modules of others: whoever imports the same in another order, or without it, sees
//! something else there.
//!
//! Additions are none: registries grow, and lazy modules add what they make. Nor is what takes the place of
//! `None`, unless it can be called: values are kept when they are first asked for.

use std::collections::HashMap;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::contents::{Kinds, attributes, is_module};
use crate::surroundings::{each, is_callable, values};

/// Most entries behind one name that are looked at. Tables of data are longer, and not changed.
const MOST: usize = 2000;

/// Dictionaries, with the names that they have for who is told.
type Named<'py> = Vec<(String, Bound<'py, PyDict>)>;

/// What modules held when they were seen last.
#[pyclass]
#[derive(Default)]
pub struct Held {
    modules: HashMap<String, usize>,
    names: HashMap<String, Names>,
}

#[pymethods]
impl Held {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// What was another thing when it was seen last, and is not of a module of the package `top`. `modules` is
    /// `sys.modules`, `tables` are those of the interpreter's modules and classes, `packages` the names of others.
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
            // What was taken away is imported anew by whoever wants it.
            if self.modules.get(name).is_some_and(|before| before != module) {
                found.push((name.clone(), format!("sys.modules[{name:?}]")));
            }
        }
        self.modules = modules;
        let tables = tables.into_iter().map(|(name, dict)| (name, Names::of_table(&dict)));
        let packages = packages.into_iter().map(|(name, dict)| {
            let now = Names::of(&name, &dict);
            (name, now)
        });
        for (name, now) in tables.chain(packages) {
            let known = self.names.get(&name).filter(|known| known.dict.is(&now.dict));
            let changed = known.and_then(|known| known.replaced(&now, py));
            found.extend(changed.map(|changed| (name.clone(), format!("{name}.{changed}"))));
            self.names.insert(name, now);
        }
        found.retain(|(name, _)| name.split('.').next() != Some(top));
        found.into_iter().map(|(_, text)| text).collect()
    }
}

/// The names of a module, and what they stood for at one time.
pub struct Names {
    dict: Py<PyDict>,
    /// With the addresses of the names, in their order.
    values: Vec<(usize, Value)>,
}

/// What a name stands for: an address, and those of what is in a dictionary, a list or an object there.
struct Value {
    address: usize,
    stands: Stands,
    is_callable: bool,
    within: Within,
}

/// For how long a name stands for what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Until somebody asks for what the object is there for.
    Lazily,
    /// Until there is something: it is `None`.
    Empty,
    /// For good.
    Still,
}

enum Within {
    Nothing,
    /// With the addresses of keys, in their order.
    Entries(Vec<(usize, usize)>),
    Items(Vec<usize>),
}

impl Names {
    /// Takes what is in the module called `name`. The import system's own names, and modules, are left out.
    pub fn of(name: &str, dict: &Bound<'_, PyDict>) -> Self {
        let mut kinds = Kinds::new(name);
        Self::those_that(dict, |text, value| {
            let counts = !text.starts_with("__") && !is_module(value);
            counts.then(|| Value::of(dict.py(), value, &mut kinds))
        })
    }

    /// Takes what can be called in a module or a class of the interpreter's, and is for everybody.
    fn of_table(dict: &Bound<'_, PyDict>) -> Self {
        Self::those_that(dict, |text, value| {
            (!text.starts_with('_') && is_callable(value)).then(|| Value::called(value))
        })
    }

    fn those_that(
        dict: &Bound<'_, PyDict>,
        mut take: impl FnMut(&str, *mut ffi::PyObject) -> Option<Value>,
    ) -> Self {
        let mut values = Vec::new();
        each(dict, |key, value| {
            // SAFETY: the dictionary refers to the key, which is looked at during the call.
            let text = unsafe { Bound::from_borrowed_ptr(dict.py(), key) };
            let text = text.cast::<PyString>().ok().and_then(|text| text.to_cow().ok());
            let taken = text.and_then(|text| take(&text, value));
            values.extend(taken.map(|taken| (key as usize, taken)));
            true
        });
        values.shrink_to_fit();
        Self { dict: dict.clone().unbind(), values }
    }

    /// A name in whose place something else is by now. `name` is the module's.
    pub fn change(&self, py: Python<'_>, name: &str) -> Option<String> {
        self.replaced(&Self::of(name, self.dict.bind(py)), py)
    }

    /// A name that stands for something else `now`, or for something in which something else is.
    fn replaced(&self, now: &Self, py: Python<'_>) -> Option<String> {
        let later: HashMap<_, _> = now.values.iter().map(|(key, value)| (key, value)).collect();
        let is_replaced = |(key, before): &&(usize, Value)| {
            later
                .get(key)
                .map_or(before.stands == Stands::Still, |value| before.is_replaced_by(value))
        };
        let (key, _) = self.values.iter().find(is_replaced)?;
        if !later.contains_key(key) {
            return Some("an attribute".to_owned());
        }
        // SAFETY: the dictionary has the key, as it was found there just now.
        let key = unsafe { Bound::from_borrowed_ptr(py, *key as *mut ffi::PyObject) };
        Some(key.extract().unwrap_or_default())
    }
}

impl Value {
    /// Looks at an object that a dictionary refers to.
    fn of(py: Python<'_>, object: *mut ffi::PyObject, kinds: &mut Kinds) -> Self {
        // SAFETY: the object is alive during the call.
        let known = unsafe { Bound::from_borrowed_ptr(py, object) };
        let stands = if known.is_none() {
            Stands::Empty
        } else if kinds.is_lazy(&known) {
            Stands::Lazily
        } else {
            Stands::Still
        };
        Self {
            address: object as usize,
            stands,
            is_callable: is_callable(object),
            within: Within::of(py, object, kinds),
        }
    }

    /// Something that can be called, whatever is in it.
    fn called(object: *mut ffi::PyObject) -> Self {
        let address = object as usize;
        Self { address, stands: Stands::Still, is_callable: true, within: Within::Nothing }
    }

    fn is_replaced_by(&self, now: &Self) -> bool {
        if self.address != now.address {
            return match self.stands {
                Stands::Lazily => false,
                Stands::Empty => now.is_callable,
                Stands::Still => true,
            };
        }
        match (&self.within, &now.within) {
            (Within::Entries(before), Within::Entries(now)) => {
                if now.starts_with(before) {
                    return false;
                }
                let now: HashMap<_, _> = now.iter().copied().collect();
                before.iter().any(|(key, value)| now.get(key).is_some_and(|other| other != value))
            }
            (Within::Items(before), Within::Items(now)) => !now.starts_with(before),
            _ => false,
        }
    }
}

impl Within {
    /// Looks at what is in an object that a dictionary refers to; at attributes only of the distribution's own.
    fn of(py: Python<'_>, object: *mut ffi::PyObject, kinds: &mut Kinds) -> Self {
        // SAFETY: the object is alive during the call, and nothing that is called here runs code of Python's.
        let object = unsafe { Bound::from_borrowed_ptr(py, object) };
        if let Ok(dict) = object.cast::<PyDict>() {
            return Self::entries(dict);
        }
        if let Ok(list) = object.cast::<PyList>() {
            let most = list.len().min(MOST);
            // SAFETY: the list has as many items, which it refers to.
            let item = |at| unsafe { ffi::PyList_GetItem(list.as_ptr(), at) as usize };
            return Self::Items((0..most.cast_signed()).map(item).collect());
        }
        if !kinds.has_attributes(&object) {
            return Self::Nothing;
        }
        attributes(&object).map_or(Self::Nothing, |dict| Self::entries(&dict))
    }

    fn entries(dict: &Bound<'_, PyDict>) -> Self {
        let (mut entries, none) = (Vec::new(), dict.py().None());
        each(dict, |key, value| {
            if value != none.as_ptr() {
                entries.push((key as usize, value as usize));
            }
            entries.len() < MOST
        });
        Self::Entries(entries)
    }
}

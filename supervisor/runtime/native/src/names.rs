//! Names of a module and the objects that they stand for, compared between two times.
//!
//! Additions are no change: registries grow, and lazy modules add the attributes that they make. Nor is a
//! value in place of `None`, unless it is a function or a class: such values are cached on first use.

use std::collections::HashMap;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::contents::{Kinds, MOST, attributes, is_module};
use crate::surroundings::{each, is_callable};

/// Addresses of the first `count` items of a list that has at least that many.
pub fn items(list: &Bound<'_, PyList>, count: usize) -> impl Iterator<Item = usize> {
    let list = list.as_ptr();
    // SAFETY: the list is alive during the iteration, and has as many items.
    (0..count.cast_signed()).map(move |at| unsafe { ffi::PyList_GetItem(list, at) as usize })
}

/// The names of a module, and what they stood for at one time.
pub struct Names {
    /// The module's dictionary.
    pub dict: Py<PyDict>,
    /// Address and value of each name, in the dictionary's order.
    values: Vec<(usize, Value)>,
}

/// The object that a name stands for: its address, and the addresses inside, if it is a dictionary, a list
/// or an object with attributes.
struct Value {
    address: usize,
    stands: Stands,
    /// True for a function or a class.
    is_code: bool,
    within: Within,
}

/// The time for which a name stands for its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Until the object behind a lazy stand-in is asked for.
    Lazily,
    /// Until a value is there: the object is `None`.
    Empty,
    /// For good.
    Still,
}

enum Within {
    Nothing,
    /// Addresses of keys and values, in the dictionary's order.
    Entries(Vec<(usize, usize)>),
    Items(Vec<usize>),
}

impl Names {
    /// Records the names of the module `name`, without modules and the import system's own names.
    pub fn of(name: &str, dict: &Bound<'_, PyDict>) -> Self {
        let mut kinds = Kinds::new(name);
        Self::those_that(dict, |text, value| {
            let counts = !text.starts_with("__") && !is_module(value);
            counts.then(|| Value::of(dict.py(), value, &mut kinds))
        })
    }

    /// Records the public callables of a module or a class of the interpreter.
    pub fn of_table(dict: &Bound<'_, PyDict>) -> Self {
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
            // SAFETY: the dictionary refers to the key, which is only read during the call.
            let text = unsafe { Bound::ref_from_ptr(dict.py(), &key) };
            let text = text.cast::<PyString>().ok().and_then(|text| text.to_cow().ok());
            let taken = text.and_then(|text| take(&text, value));
            values.extend(taken.map(|taken| (key as usize, taken)));
            true
        });
        values.shrink_to_fit();
        Self { dict: dict.clone().unbind(), values }
    }

    /// A name that was replaced since, or changed inside. `name` is the module's.
    pub fn change(&self, py: Python<'_>, name: &str) -> Option<String> {
        self.replaced(&Self::of(name, self.dict.bind(py)), py)
    }

    /// A name that is replaced `now`, or changed inside.
    pub fn replaced(&self, now: &Self, py: Python<'_>) -> Option<String> {
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
        // SAFETY: the dictionary has the key, because it was found there just now.
        let key = unsafe { Bound::from_borrowed_ptr(py, *key as *mut ffi::PyObject) };
        Some(key.extract().unwrap_or_default())
    }
}

impl Value {
    /// Records an object that a dictionary refers to.
    fn of(py: Python<'_>, object: *mut ffi::PyObject, kinds: &mut Kinds) -> Self {
        // SAFETY: the object is alive during the call.
        let known = unsafe { Bound::ref_from_ptr(py, &object) };
        let stands = if known.is_none() {
            Stands::Empty
        } else if kinds.is_lazy(known) {
            Stands::Lazily
        } else {
            Stands::Still
        };
        Self {
            address: object as usize,
            stands,
            is_code: is_code(known),
            within: Within::of(known, kinds),
        }
    }

    /// Records a callable, without its inside.
    fn called(object: *mut ffi::PyObject) -> Self {
        let address = object as usize;
        Self { address, stands: Stands::Still, is_code: true, within: Within::Nothing }
    }

    fn is_replaced_by(&self, now: &Self) -> bool {
        if self.address != now.address {
            return match self.stands {
                Stands::Lazily => false,
                Stands::Empty => now.is_code,
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
    /// Records an object's inside; attributes only if its type is of the same distribution.
    fn of(object: &Bound<'_, PyAny>, kinds: &mut Kinds) -> Self {
        if let Ok(dict) = object.cast::<PyDict>() {
            return Self::entries(dict);
        }
        if let Ok(list) = object.cast::<PyList>() {
            return Self::Items(items(list, list.len().min(MOST)).collect());
        }
        if !kinds.has_attributes(object) {
            return Self::Nothing;
        }
        attributes(object).map_or(Self::Nothing, |dict| Self::entries(&dict))
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

fn is_code(object: &Bound<'_, PyAny>) -> bool {
    let object = object.as_ptr();
    // SAFETY: the object is alive, and only its type is asked about. Types of functions are the
    // interpreter's.
    unsafe {
        let is_interpreters =
            ffi::PyType_GetFlags(ffi::Py_TYPE(object)) & ffi::Py_TPFLAGS_HEAPTYPE == 0;
        ffi::PyType_Check(object) != 0 || (is_interpreters && is_callable(object))
    }
}

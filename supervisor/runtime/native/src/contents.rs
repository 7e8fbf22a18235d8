//! Contents of modules that a zygote has imported. A function's code may change them ahead of an import
//! that uses them.
//!
//! As in [`crate::surroundings`], a child counts as few references as it can, and compares addresses: of
//! the objects that a module's names stand for, and of those in dictionaries, lists and objects there.

use std::collections::{HashMap, HashSet};
use std::ffi::c_ulong;
use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::surroundings::each;

/// Depth to which objects in a module are followed: a setting in a section of a dictionary in an object.
const DEPTH: usize = 4;
/// Most objects that are followed from one name. Data tables are longer, but are not changed.
pub const MOST: usize = 2000;

/// The objects that a module's names stood for at one time.
pub struct Contents {
    dict: Py<PyDict>,
    /// The address of each name that counts, in the dictionary's order, and the digest of its object.
    entries: Vec<(usize, u64)>,
}

impl Contents {
    /// Records the contents of the module `name`, without modules and the import system's own names.
    pub fn of(name: &str, dict: &Bound<'_, PyDict>) -> Self {
        let mut kinds = Kinds::new(name);
        let mut entries = Vec::new();
        each(dict, |key, value| {
            // SAFETY: the dictionary refers to the key, which is looked at during the call.
            let text = unsafe { Bound::from_borrowed_ptr(dict.py(), key) };
            let counts = text
                .cast::<PyString>()
                .is_ok_and(|text| text.to_cow().is_ok_and(|text| !text.starts_with("__")));
            // SAFETY: as with the key.
            let object = unsafe { Bound::ref_from_ptr(dict.py(), &value) };
            if counts && !is_module(value) && !kinds.is_lazy(object) {
                entries.push((key as usize, digest(dict.py(), value, &mut kinds)));
            }
            true
        });
        entries.shrink_to_fit();
        Self { dict: dict.clone().unbind(), entries }
    }

    /// The name of an object that was replaced, removed or changed inside since; additions do not count.
    /// `name` is the module's.
    pub fn change(&self, py: Python<'_>, name: &str) -> Option<String> {
        let mut kinds = Kinds::new(name);
        let mut before = self.entries.iter().peekable();
        let mut found = None;
        each(self.dict.bind(py), |key, value| {
            let Some((_, digest_before)) = before.next_if(|(at, _)| *at == key as usize) else {
                return true;
            };
            if digest(py, value, &mut kinds) != *digest_before {
                // SAFETY: the dictionary refers to the key.
                let key = unsafe { Bound::from_borrowed_ptr(py, key) };
                found = Some(key.extract().unwrap_or_default());
            }
            found.is_none()
        });
        // Names keep their order, so one that was not met was removed.
        found.or_else(|| before.next().map(|_| "an attribute".to_owned()))
    }
}

/// Types of the same distribution as a module, judged by their names. Attributes of other types' objects do
/// not count: a logger, for example, refers to all others.
pub struct Kinds {
    top: String,
    known: HashMap<usize, bool>,
    lazy: HashMap<usize, bool>,
}

impl Kinds {
    /// Types for the module of this name.
    pub fn new(module: &str) -> Self {
        let top = module.split('.').next().unwrap_or_default().to_owned();
        Self { top, known: HashMap::new(), lazy: HashMap::new() }
    }

    /// True if an object has attributes that count.
    pub fn has_attributes(&mut self, object: &Bound<'_, PyAny>) -> bool {
        let kind = object.get_type_ptr();
        // SAFETY: the type is that of an object which is alive.
        let is_type = unsafe { has(kind, ffi::Py_TPFLAGS_TYPE_SUBCLASS) };
        !is_type && !is_module(object.as_ptr()) && self.count(object.py(), kind)
    }

    /// True if an object stands in for another until that is asked for, judged by its type's name: an
    /// import by `lazy import` (PEP 810), or an emulation of one.
    pub fn is_lazy(&mut self, object: &Bound<'_, PyAny>) -> bool {
        let kind = object.get_type();
        *self.lazy.entry(kind.as_ptr() as usize).or_insert_with(|| {
            let names = [intern!(kind.py(), "__module__"), intern!(kind.py(), "__qualname__")];
            names.iter().any(|name| {
                let text = kind.getattr(name).and_then(|text| text.extract::<String>());
                text.is_ok_and(|text| text.to_ascii_lowercase().contains("lazy"))
            })
        })
    }

    fn count(&mut self, py: Python<'_>, kind: *mut ffi::PyTypeObject) -> bool {
        let top = &self.top;
        *self.known.entry(kind as usize).or_insert_with(|| {
            // SAFETY: an object of the type is alive.
            let kind = unsafe {
                if !has(kind, ffi::Py_TPFLAGS_HEAPTYPE) {
                    return false;
                }
                Bound::from_borrowed_ptr(py, kind.cast())
            };
            let module = kind.getattr(intern!(py, "__module__"));
            let module = module.and_then(|module| module.extract::<String>());
            module.is_ok_and(|module| module.split('.').next() == Some(top))
        })
    }
}

/// A walk over the objects behind one name.
struct Walk<'a, 'py> {
    py: Python<'py>,
    kinds: &'a mut Kinds,
    digest: DefaultHasher,
    met: HashSet<usize>,
}

fn digest(py: Python<'_>, object: *mut ffi::PyObject, kinds: &mut Kinds) -> u64 {
    let mut walk = Walk { py, kinds, digest: DefaultHasher::new(), met: HashSet::new() };
    walk.object(object, DEPTH);
    walk.digest.finish()
}

impl Walk<'_, '_> {
    /// Adds an object to the digest. The object must be alive during the call.
    fn object(&mut self, object: *mut ffi::PyObject, depth: usize) {
        (object as usize).hash(&mut self.digest);
        if depth == 0 || self.met.len() == MOST {
            return;
        }
        // SAFETY: the object is alive, and nothing that is called here runs code of Python's.
        unsafe {
            let kind = ffi::Py_TYPE(object);
            if has(kind, ffi::Py_TPFLAGS_DICT_SUBCLASS) {
                if self.met.insert(object as usize) {
                    self.dict(object, depth);
                }
            } else if has(kind, ffi::Py_TPFLAGS_LIST_SUBCLASS) {
                if self.met.insert(object as usize) {
                    let items = ffi::PyList_Size(object);
                    (0..items)
                        .for_each(|at| self.object(ffi::PyList_GetItem(object, at), depth - 1));
                }
            } else if has(kind, ffi::Py_TPFLAGS_TUPLE_SUBCLASS) {
                if self.met.insert(object as usize) {
                    let items = ffi::PyTuple_Size(object);
                    (0..items)
                        .for_each(|at| self.object(ffi::PyTuple_GetItem(object, at), depth - 1));
                }
            } else if ffi::PyAnySet_Check(object) != 0 {
                ffi::PySet_Size(object).hash(&mut self.digest);
            } else {
                let object = Bound::ref_from_ptr(self.py, &object);
                if self.kinds.has_attributes(object)
                    && self.met.insert(object.as_ptr() as usize)
                    && let Some(dict) = attributes(object)
                {
                    self.dict(dict.as_ptr(), depth);
                }
            }
        }
    }

    fn dict(&mut self, dict: *mut ffi::PyObject, depth: usize) {
        // SAFETY: it is a dictionary, and alive.
        let dict = unsafe { Bound::from_borrowed_ptr(self.py, dict).cast_into_unchecked() };
        each(&dict, |key, value| {
            (key as usize).hash(&mut self.digest);
            self.object(value, depth - 1);
            true
        });
    }
}

/// The dictionary of an object's attributes, if it has one. No Python code runs.
pub fn attributes<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    let name = intern!(object.py(), "__dict__");
    // SAFETY: the object is alive, and the found dictionary is owned here. An error only means that the
    // object has no dictionary, and is cleared.
    let dict = unsafe {
        let dict = ffi::PyObject_GenericGetAttr(object.as_ptr(), name.as_ptr());
        if dict.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Bound::from_owned_ptr(object.py(), dict)
    };
    dict.cast_into().ok()
}

/// True if an object is a module. The object must be alive during the call.
pub fn is_module(object: *mut ffi::PyObject) -> bool {
    // SAFETY: something refers to the object, of which the type alone is looked at.
    unsafe { ffi::PyModule_Check(object) != 0 }
}

/// True if a type has a flag. The type must be alive during the call.
unsafe fn has(kind: *mut ffi::PyTypeObject, flag: c_ulong) -> bool {
    // SAFETY: the caller keeps the type alive.
    unsafe { ffi::PyType_GetFlags(kind) & flag != 0 }
}

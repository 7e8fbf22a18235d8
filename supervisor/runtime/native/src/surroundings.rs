//! State of the process that code can change and an import may read: attributes of modules and classes, the
//! lists of the import system, variables, streams, the locale.
//!
//! A child shares its pages with its zygote until it writes to them. Counting a reference writes to a page,
//! and so does allocating small pieces of memory. So all of this compares addresses and digests.

use std::collections::HashMap;
use std::ffi::CStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::raw::c_char;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Attributes of `sys` that are lists.
const LISTS: [&CStr; 4] = [c"path", c"meta_path", c"path_hooks", c"argv"];
/// Attributes of `sys` that are one object.
const STREAMS: [&CStr; 3] = [c"stdin", c"stdout", c"stderr"];

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// State that is cheap to look at, as it is at one time.
pub struct Look {
    /// Variables as in the process's environment, each with a zero at its end.
    variables: Vec<u8>,
    /// Number of items of each list and their addresses, then the addresses of the streams.
    addresses: Vec<usize>,
    locale: Vec<u8>,
}

/// Differences from an earlier look.
#[derive(IntoPyObject)]
pub struct Differences {
    /// Names of variables.
    variables: Vec<String>,
    /// Lists of `sys`, with the addresses of their earlier items.
    lists: HashMap<String, Vec<usize>>,
    /// Other things, by their names.
    others: Vec<String>,
}

impl Look {
    /// The state now.
    pub fn now(_py: Python<'_>) -> Self {
        let (mut variables, mut addresses, mut name) = (Vec::new(), Vec::new(), Vec::new());
        variables.reserve(4096);
        addresses.reserve(128);
        each_variable(|variable| variables.extend_from_slice(variable));
        for name in LISTS {
            each_item(name, |address| addresses.push(address));
        }
        addresses.extend(STREAMS.iter().map(|name| attribute(name) as usize));
        locale(|locale| name.extend_from_slice(locale));
        Self { variables, addresses, locale: name }
    }

    /// A digest of the state now.
    pub fn digest(_py: Python<'_>) -> u64 {
        let mut digest = DefaultHasher::new();
        each_variable(|variable| variable.hash(&mut digest));
        for name in LISTS {
            each_item(name, |address| address.hash(&mut digest));
        }
        for name in STREAMS {
            (attribute(name) as usize).hash(&mut digest);
        }
        locale(|locale| locale.hash(&mut digest));
        digest.finish()
    }

    /// Differences of a later look from this one.
    pub fn differences(&self, now: &Self) -> Differences {
        let ((mut lists, mut others), mut later) = ((HashMap::new(), Vec::new()), &*now.addresses);
        let mut earlier = &*self.addresses;
        for name in LISTS {
            let (before, after) = (next_list(&mut earlier), next_list(&mut later));
            if before != after {
                lists.insert(text(name), before.to_vec());
            }
        }
        let streams = STREAMS.iter().zip(earlier.iter().zip(later));
        let streams = streams.filter(|(_, (before, after))| before != after);
        others.extend(streams.map(|(name, _)| format!("sys.{}", text(name))));
        if self.locale != now.locale {
            others.push("the locale".to_owned());
        }
        let [before, after] = [self, now].map(Self::by_name);
        let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
        let names = names.filter(|name| before.get(*name) != after.get(*name));
        let variables = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        Differences { variables, lists, others }
    }

    fn by_name(&self) -> HashMap<&[u8], &[u8]> {
        let variables = self.variables.split(|byte| *byte == 0);
        let split = |variable: &'_ [u8]| variable.iter().position(|byte| *byte == b'=');
        variables.filter_map(|one| split(one).map(|end| one.split_at(end))).collect()
    }
}

/// The entries of a dictionary as they were.
pub struct Table {
    dict: Py<PyDict>,
    entries: Vec<Entry>,
    /// The dictionary's version, if it has one.
    version: Option<u64>,
    /// True for a module that makes attributes on demand (PEP 562), and may store them.
    is_lazy: bool,
}

#[derive(Clone, Copy)]
struct Entry {
    key: usize,
    value: usize,
    /// True if a replacement of the value makes a difference: the value can be called.
    counts: bool,
}

impl Table {
    /// Records the current entries.
    pub fn new(dict: &Bound<'_, PyDict>) -> Self {
        let mut entries = Vec::new();
        each(dict, |key, value| {
            let counts = is_callable(value);
            entries.push(Entry { key: key as usize, value: value as usize, counts });
            true
        });
        let version = has_versions(dict.py()).then(|| version(dict));
        // A class may have `__getattr__`, but has no `__spec__`.
        let is_lazy =
            ["__getattr__", "__spec__"].iter().all(|name| dict.contains(name).unwrap_or(false));
        Self { version, dict: dict.clone().unbind(), entries, is_lazy }
    }

    /// The dictionary's version when the entries were recorded, and now.
    pub fn versions(&self, py: Python<'_>) -> Option<(u64, u64)> {
        self.version.map(|taken| (taken, version(self.dict.bind(py))))
    }

    /// The name of a callable that was replaced, added or removed since, as far as it can be determined.
    /// Data does not count, because it changes at all times. Additions to a lazy module do not count. A
    /// value `expected` does not count.
    pub fn change(&self, py: Python<'_>, expected: usize) -> Option<String> {
        if self.is_same(py, false) {
            return None;
        }
        let mut before: HashMap<_, _> = self.entries.iter().map(|one| (one.key, one)).collect();
        let mut found = None;
        each(self.dict.bind(py), |key, value| {
            let is_changed = match before.remove(&(key as usize)) {
                Some(one) => one.value != value as usize && (one.counts || is_callable(value)),
                None => !self.is_lazy && is_callable(value),
            };
            let is_changed = is_changed && value as usize != expected;
            if is_changed {
                // SAFETY: the dictionary refers to the key.
                let key = unsafe { Bound::from_borrowed_ptr(py, key) };
                found = Some(key.extract().unwrap_or_default());
            }
            !is_changed
        });
        let is_less = || before.values().any(|one| one.counts).then(|| "an attribute".to_owned());
        found.or_else(is_less)
    }

    /// True if the entries are the same, in the same order; new ones at the end are allowed if it
    /// `may_grow`.
    pub fn is_same(&self, py: Python<'_>, may_grow: bool) -> bool {
        let mut before = self.entries.iter();
        let mut is_same = true;
        each(self.dict.bind(py), |key, value| {
            let Some(one) = before.next() else {
                is_same &= may_grow;
                return false;
            };
            is_same = (one.key, one.value) == (key as usize, value as usize);
            is_same
        });
        is_same && before.next().is_none()
    }
}

/// Addresses of values by their keys' texts.
pub fn values(dict: &Bound<'_, PyDict>) -> HashMap<String, usize> {
    let mut found = HashMap::new();
    each(dict, |key, value| {
        // SAFETY: the dictionary refers to the key.
        let key = unsafe { Bound::from_borrowed_ptr(dict.py(), key) };
        if let Ok(key) = key.extract() {
            found.insert(key, value as usize);
        }
        true
    });
    found
}

/// Calls `look` with keys and values until it returns false. Both are borrowed: they are alive only during
/// the call.
pub fn each(
    dict: &Bound<'_, PyDict>,
    mut look: impl FnMut(*mut ffi::PyObject, *mut ffi::PyObject) -> bool,
) {
    let (mut position, mut key, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: this thread has the interpreter, and `look` runs no code that changes the dictionary.
    while unsafe {
        ffi::PyDict_Next(dict.as_ptr(), &raw mut position, &raw mut key, &raw mut value)
    } != 0
    {
        if !look(key, value) {
            break;
        }
    }
}

/// True if each change gives a dictionary another version: up to CPython 3.13.
fn has_versions(py: Python<'_>) -> bool {
    let running = py.version_info();
    running >= (3, 9) && (running.major, running.minor) < (3, 14)
}

fn version(dict: &Bound<'_, PyDict>) -> u64 {
    // SAFETY: the object is a dictionary of an interpreter whose dictionaries have a version, behind the
    // object's header and the number of entries.
    unsafe { dict.as_ptr().add(1).cast::<u64>().add(1).read() }
}

/// True if an object can be called. The object must be alive.
pub fn is_callable(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller keeps the object alive, and only its type is read.
    unsafe { ffi::PyCallable_Check(object) != 0 }
}

/// An attribute of `sys`, borrowed; null if there is none.
fn attribute(name: &CStr) -> *mut ffi::PyObject {
    // SAFETY: the name is a C string; the caller has the interpreter.
    unsafe { ffi::PySys_GetObject(name.as_ptr()) }
}

/// Calls `look` with the length of a list of `sys`, then with the address of each item.
fn each_item(name: &CStr, mut look: impl FnMut(usize)) {
    let list = attribute(name);
    // SAFETY: `sys` refers to the list, whose items are asked for within its length.
    unsafe {
        if list.is_null() || ffi::PyList_Check(list) == 0 {
            [1, list as usize].into_iter().for_each(look);
            return;
        }
        let length = ffi::PyList_Size(list);
        look(usize::try_from(length).unwrap_or(0));
        (0..length).for_each(|at| look(ffi::PyList_GetItem(list, at) as usize));
    }
}

fn next_list<'a>(addresses: &mut &'a [usize]) -> &'a [usize] {
    let (length, rest) = addresses.split_first().unwrap_or((&0, &[]));
    let (list, rest) = rest.split_at((*length).min(rest.len()));
    *addresses = rest;
    list
}

/// Calls `look` with each variable, including the zero at its end.
fn each_variable(mut look: impl FnMut(&[u8])) {
    // SAFETY: this thread has the interpreter, which is needed to set variables. `environ` points to a list
    // that ends with a null; each variable in it ends with a zero.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            look(CStr::from_ptr(*at).to_bytes_with_nul());
            at = at.add(1);
        }
    }
}

/// Calls `look` with the name of the locale.
fn locale(look: impl FnOnce(&[u8])) {
    // SAFETY: nothing is set, and the returned text is read before other code could set it.
    unsafe {
        let name = nix::libc::setlocale(nix::libc::LC_ALL, std::ptr::null());
        look(if name.is_null() { &[] } else { CStr::from_ptr(name).to_bytes() });
    }
}

fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

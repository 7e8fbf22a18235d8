//! Entry points of imports: recorded in a zygote, watched in its children.

use std::thread;

use pyo3::exceptions::{PySystemError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::mode::Mode;
use crate::printed::printed_bytes;
use crate::watch::{state, take};

/// The logging module.
const LOGGING: &str = "logging";

/// The functions of this module.
#[pymodule(submodule)]
pub mod imports {
    #[pymodule_export]
    use super::{find_and_load, import, importing, note, printed, record};
    #[pymodule_export]
    use crate::watch::{
        begin, changed_attribute, differences, end, refuse, rehearse, seal, shadow, unlike, untaken,
    };
}

/// Imports as `builtins.__import__` does.
#[pyfunction(name = "__import__")]
#[pyo3(signature = (name, globals=None, locals=None, fromlist=None, level=0))]
fn import<'py>(
    name: &Bound<'py, PyAny>,
    globals: Option<&Bound<'py, PyAny>>,
    locals: Option<&Bound<'py, PyAny>>,
    fromlist: Option<&Bound<'py, PyAny>>,
    level: i32,
) -> PyResult<Bound<'py, PyAny>> {
    if !name.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("module name must be a string"));
    }
    let mode = state().mode;
    if mode == Mode::Loading {
        state().steps.meet(name.py())?;
    }
    if matches!(mode, Mode::Loading | Mode::Running) {
        take(name.py(), &wanted(name, globals, fromlist, level))?;
    }
    let pointer =
        |object: Option<&Bound<'py, PyAny>>| object.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: the objects are alive, and the name is a text.
    let module = unsafe {
        let module = ffi::PyImport_ImportModuleLevelObject(
            name.as_ptr(),
            pointer(globals),
            pointer(locals),
            pointer(fromlist),
            level,
        );
        Bound::from_owned_ptr_or_err(name.py(), module)?
    };
    if mode == Mode::Recording {
        let wanted = wanted(name, globals, fromlist, level);
        let mut state = state();
        if state.is_recorded() {
            for name in wanted {
                state.modules.want(&name);
            }
        }
    }
    Ok(module)
}

/// Replaces the import system's function of this name. That function gets imports of modules that are not
/// there yet, and those by `importlib.import_module`; from CPython 3.15 on also an argument for submodules
/// that are missing.
#[pyfunction(name = "_find_and_load")]
#[pyo3(signature = (name, import_, **lazy))]
fn find_and_load<'py>(
    name: &Bound<'py, PyAny>,
    import_: &Bound<'py, PyAny>,
    lazy: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = name.py();
    let text: Option<String> = name.extract().ok();
    let (mode, is_recorded, plain) = {
        let state = state();
        (state.mode, state.is_recorded(), state.plain.as_ref().map(|plain| plain.clone_ref(py)))
    };
    let plain = plain.ok_or_else(|| PySystemError::new_err("imports were never recorded"))?;
    let load = || plain.bind(py).call((name, import_), lazy);
    match (mode, text) {
        (Mode::Recording, Some(text)) if is_recorded => {
            state().open(&text);
            let module = load();
            state().close();
            if text == LOGGING && module.is_ok() {
                let loaded = state().loaded.as_ref().map(|loaded| loaded.clone_ref(py));
                loaded.map(|loaded| loaded.call0(py)).transpose()?;
            }
            module
        }
        (Mode::Loading | Mode::Running, Some(text)) => {
            take(py, std::slice::from_ref(&text))?;
            state().meet_import(&text);
            load()
        }
        _ => load(),
    }
}

/// Names of the modules that an import statement wants, as far as they can be determined.
fn wanted(
    name: &Bound<'_, PyAny>,
    globals: Option<&Bound<'_, PyAny>>,
    fromlist: Option<&Bound<'_, PyAny>>,
    level: i32,
) -> Vec<String> {
    let Ok(mut name) = name.extract::<String>() else { return Vec::new() };
    if level > 0 {
        let package = globals.and_then(|globals| globals.get_item("__package__").ok());
        let Some(package) = package.and_then(|package| package.extract::<String>().ok()) else {
            return Vec::new();
        };
        let mut base = package.as_str();
        for _ in 1..level {
            base = base.rsplit_once('.').map_or("", |(base, _)| base);
        }
        name = if name.is_empty() { base.to_owned() } else { format!("{base}.{name}") };
    }
    let mut names = vec![name];
    // Import statements pass a tuple; anything else is a direct call.
    let items = fromlist.and_then(|items| items.cast::<PyTuple>().ok());
    for item in items.into_iter().flatten() {
        if let Ok(item) = item.extract::<String>() {
            names.push(format!("{}.{item}", names[0]));
        }
    }
    names
}

/// Records imports until `seal`. `plain` is the import system's `_find_and_load`; `loaded` is called
/// after `logging` was imported.
#[pyfunction]
fn record(plain: Py<PyAny>, loaded: Py<PyAny>) {
    let mut state = state();
    state.plain = Some(plain);
    state.loaded = Some(loaded);
    state.mode = Mode::Recording;
    state.thread = Some(thread::current().id());
    state.length = printed_bytes();
}

/// Adds an event to the module that is being imported, and returns its number; `None` if no import is
/// recorded.
#[pyfunction]
fn note() -> Option<usize> {
    let mut state = state();
    if !state.is_recorded() {
        return None;
    }
    state.charge();
    state.modules.happen()
}

/// The number of the module that is being imported.
#[pyfunction]
fn importing() -> Option<usize> {
    let state = state();
    if state.is_recorded() { state.modules.innermost() } else { None }
}

/// Printed output since the last call: for each event, its number, and where its output begins and ends in
/// all.
#[pyfunction]
fn printed() -> Vec<(usize, u64, u64)> {
    let mut state = state();
    state.charge();
    std::mem::take(&mut state.printed)
}

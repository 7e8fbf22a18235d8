//! The watch over imports in a zygote's child: imports of modules that the zygote has already.
//!
//! The zygote records the modules that each import wanted. In the child, the first import of a module takes
//! it and all that its own import wanted. Before that, the watch checks that the state that the import may
//! have read is unchanged. No call that could import is made while the state is locked.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::beside;
use crate::kept::{Actor, Kept};
use crate::later::Types;
use crate::mode::Mode;
use crate::modules::Modules;
use crate::owner::is_elsewhere;
use crate::printed::printed_bytes;
use crate::steps::Steps;
use crate::surroundings::{Differences, Look, Table, values};

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);

#[derive(Default)]
pub struct State {
    pub mode: Mode,
    pub modules: Modules,
    /// Steps of the function's modules besides imports.
    pub steps: Steps,
    /// The thread whose imports are recorded.
    pub thread: Option<ThreadId>,
    /// Bytes printed so far.
    pub length: u64,
    /// Events of printed output: number, and where the output begins and ends in all.
    pub printed: Vec<(usize, u64, u64)>,
    /// The import system's own `_find_and_load`.
    pub plain: Option<Py<PyAny>>,
    /// Callback after `logging` was imported.
    pub loaded: Option<Py<PyAny>>,
    sealed: Option<Sealed>,
    /// Callback that ends the load, once one has begun.
    refuse: Option<Py<PyAny>>,
    /// The look when the load began, and the digest of the last state that was found harmless.
    began: Option<(Look, u64)>,
    /// Versions of tables that have changed and were found harmless, by the tables' numbers.
    seen: HashMap<usize, u64>,
    /// The reason for which the version is to have interpreters of its own.
    unlike: Option<String>,
}

/// State of a zygote when it has imported all.
struct Sealed {
    /// Attribute tables with the names that messages give them; the first has `__import__`.
    tables: Vec<(String, Table)>,
    /// The table of all modules.
    all: Table,
    by_name: HashMap<String, usize>,
    packages: Kept,
    /// Modules that the runtime has imported for itself, and not every interpreter has.
    early: HashSet<String>,
    /// Modules that imports have looked for and not found.
    missed: HashSet<String>,
    hooks: Hooks,
}

/// Python objects that are needed while a request waits.
#[derive(FromPyObject)]
pub struct Hooks {
    modules: Py<PyDict>,
    /// Entry points of imports: `builtins.__import__` first.
    places: Vec<Place>,
    /// Callback that finds a difference that may matter.
    difference: Py<PyAny>,
    /// Callback that repeats the visible effects of imports, or returns the reason why it cannot.
    tell: Py<PyAny>,
    /// Callback for all objects that are neither the zygote's nor too simple to be tracked.
    objects: Py<PyAny>,
    types: Types,
}

/// A dictionary, a key, the watching value, and the plain value.
type Place = (Py<PyDict>, Py<PyString>, Py<PyAny>, Py<PyAny>);

/// The state. A caller that holds the lock must not import.
pub fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes modules that are there and not taken yet, with all that their imports wanted. Refuses if state
/// that these may have read has changed.
pub fn take(py: Python<'_>, names: &[String]) -> PyResult<()> {
    let (name, is_changed, changed) = {
        let mut state = state();
        let untaken = names.iter().find(|name| state.modules.is_untaken(name));
        let Some(name) = untaken.cloned() else { return Ok(()) };
        if is_elsewhere() {
            return Ok(());
        }
        (name, state.is_changed(py), state.changed_content(py, names)?)
    };
    if is_changed && let Some(reason) = difference(py)? {
        return refuse(py, &format!("{reason} ahead of the import of {name}"));
    }
    if let Some(changed) = changed {
        return refuse(py, &format!("{changed} was changed ahead of the import of {name}"));
    }
    let (shadowed, events) = state().modules.take(names);
    if let Some(shadowed) = shadowed.first() {
        let reason = format!("{shadowed} is found elsewhere ahead of the import of {name}");
        return refuse(py, &reason);
    }
    if events.is_empty() {
        return Ok(());
    }
    let Some(tell) = state().sealed.as_ref().map(|sealed| sealed.hooks.tell.clone_ref(py)) else {
        return Ok(());
    };
    match passing(|| tell.call1(py, (events,)))?.extract::<Option<String>>(py)? {
        Some(reason) => refuse(py, &format!("{reason} ahead of the import of {name}")),
        None => Ok(()),
    }
}

/// A difference from the begin of the load that may matter. Without one, the state counts as harmless.
fn difference(py: Python<'_>) -> PyResult<Option<String>> {
    let Some(find) = state().sealed.as_ref().map(|sealed| sealed.hooks.difference.clone_ref(py))
    else {
        return Ok(None);
    };
    let found: Option<String> = passing(|| find.call0(py))?.extract(py)?;
    if found.is_none() {
        state().settle(py);
    }
    Ok(found)
}

/// Calls a function whose imports are not watched.
fn passing<T>(call: impl FnOnce() -> T) -> T {
    let mode = std::mem::take(&mut state().mode);
    let outcome = call();
    let mut state = state();
    if state.mode == Mode::Off {
        state.mode = mode;
    }
    drop(state);
    outcome
}

/// Ends the load for a reason, and does not return. A handler that runs goes on, unwatched, and its version
/// is to have interpreters of its own.
#[pyfunction]
pub fn refuse(py: Python<'_>, reason: &str) -> PyResult<()> {
    let mut state = state();
    if state.mode == Mode::Running {
        state.unlike = Some(reason.to_owned());
        drop(state);
        return stop(py);
    }
    state.mode = Mode::Off;
    let refuse = state.refuse.as_ref().map(|refuse| refuse.clone_ref(py));
    drop(state);
    refuse.map(|refuse| refuse.call1(py, (reason,))).transpose().map(drop)
}

impl State {
    pub fn is_recorded(&self) -> bool {
        self.mode == Mode::Recording && self.thread == Some(thread::current().id())
    }

    pub fn open(&mut self, name: &str) {
        self.charge();
        self.modules.open(name);
    }

    pub fn close(&mut self) {
        self.charge();
        self.modules.close();
    }

    /// Assigns output printed since the last call to the innermost import.
    pub fn charge(&mut self) {
        let length = printed_bytes();
        let before = std::mem::replace(&mut self.length, length);
        if length > before
            && let Some(event) = self.modules.happen()
        {
            self.printed.push((event, before, length));
        }
    }

    /// Notes the import of a module. It is the child's own import unless the zygote has the module.
    pub fn meet_import(&mut self, name: &str) {
        if !self.sealed.as_ref().is_some_and(|sealed| sealed.by_name.contains_key(name)) {
            self.steps.meet_import(name);
        }
    }

    /// True if state has changed since the load began, and was not found harmless.
    fn is_changed(&mut self, py: Python<'_>) -> bool {
        let (Some(sealed), Some((_, digest))) = (&self.sealed, &self.began) else { return false };
        if *digest != Look::digest(py) {
            return true;
        }
        let hook = sealed.hooks.places.first().map_or(0, |place| place.2.as_ptr() as usize);
        let tables = sealed.tables.iter().map(|(_, table)| table).chain([&sealed.all]);
        for (number, table) in tables.enumerate() {
            let versions = table.versions(py);
            if versions.is_some_and(|(first, now)| *self.seen.get(&number).unwrap_or(&first) == now)
            {
                continue;
            }
            let is_changed = if number == sealed.tables.len() {
                !table.is_same(py, true)
            } else {
                table.change(py, hook).is_some()
            };
            if is_changed {
                return true;
            }
            if let Some((_, now)) = versions {
                self.seen.insert(number, now);
            }
        }
        false
    }

    /// A changed object in a module that was taken earlier and that the imports of `names` use. The
    /// function's code or an import of the child's own has changed it.
    fn changed_content(&mut self, py: Python<'_>, names: &[String]) -> PyResult<Option<String>> {
        // A running handler has done more than import.
        let actor = match self.mode {
            Mode::Loading => self.steps.actor(py)?,
            _ => Some(Actor::Function),
        };
        let (Some(actor), Some(sealed)) = (actor, &self.sealed) else { return Ok(None) };
        Ok(sealed.packages.change(py, &self.modules.used(names), actor))
    }

    /// Marks the current state as harmless.
    fn settle(&mut self, py: Python<'_>) {
        if let Some((_, digest)) = &mut self.began {
            *digest = Look::digest(py);
        }
    }
}

impl Sealed {
    /// A changed attribute, or a replaced module.
    fn change(&self, py: Python<'_>) -> Option<String> {
        if !self.all.is_same(py, true) {
            let now = values(self.hooks.modules.bind(py));
            let changed = self.by_name.iter().find(|(name, at)| now.get(*name) != Some(*at));
            if let Some((name, _)) = changed {
                return Some(format!("sys.modules[{name:?}]"));
            }
        }
        let hook = self.hooks.places.first().map_or(0, |place| place.2.as_ptr() as usize);
        let mut changes = self.tables.iter().map(|(name, table)| (name, table.change(py, hook)));
        changes.find_map(|(name, change)| Some(format!("{name}.{}", change?)))
    }
}

impl Hooks {
    /// Starts or stops watching imports, except at places where other code has put its own value.
    fn place(&self, py: Python<'_>, is_watched: bool) -> PyResult<()> {
        for (dict, key, watching, plain) in &self.places {
            let (old, new) = if is_watched { (plain, watching) } else { (watching, plain) };
            let dict = dict.bind(py);
            if dict.get_item(key)?.is_some_and(|now| now.is(old)) {
                dict.set_item(key, new)?;
            }
        }
        Ok(())
    }
}

/// Ends the recording: a child has all modules without having imported them, except for the `bare` ones.
/// `tables` are dictionaries whose entries code may change, with their names. `packages` are modules that
/// are not the interpreter's. `acting` are the operations that may change an object.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "Python's side calls it once")]
pub fn seal(
    py: Python<'_>,
    hooks: Hooks,
    bare: Vec<String>,
    early: HashSet<String>,
    missed: HashSet<String>,
    tables: Vec<(String, Bound<'_, PyDict>)>,
    packages: Vec<(String, Bound<'_, PyDict>)>,
    acting: Vec<u8>,
) {
    let modules = hooks.modules.bind(py).clone();
    let mut by_name = values(&modules);
    // `__main__` is the running program, and another one in a spawned process.
    by_name.remove("__main__");
    let tables = tables.into_iter().map(|(name, dict)| (name, Table::new(&dict))).collect();
    let all = Table::new(&modules);
    let mut state = state();
    state.mode = Mode::Off;
    let bare: HashSet<_> = bare.into_iter().collect();
    state.modules.seal(by_name.keys().filter(|name| !bare.contains(*name)));
    let packages = Kept::of(packages, |name| state.modules.find(name));
    state.steps.know(acting);
    state.sealed = Some(Sealed { tables, all, by_name, packages, early, missed, hooks });
}

/// Watches imports of a function from now on; its code is in the folder `code`. `refuse` ends the load, and
/// gets the reason.
#[pyfunction]
pub fn begin(py: Python<'_>, code: &str, handler: String, refuse: Py<PyAny>) -> PyResult<()> {
    let mut state = state();
    let State { sealed: Some(sealed), modules, .. } = &mut *state else { return Ok(()) };
    let (mut reason, mut own) = (None, HashSet::new());
    beside::each_module(code, |name| {
        own.insert(name.to_owned());
        if modules.is_untaken(name) && beside::is_module(code, name) {
            modules.shadow(name);
        } else if sealed.early.contains(name) && beside::is_module(code, name) {
            // The runtime has imported its own module of this name; other importers of it cannot be
            // determined.
            reason = Some(format!("the function has a module {name} of its own"));
        } else if sealed.missed.contains(name) && beside::is_module(code, name) {
            reason =
                Some(format!("the function has a module {name}, which a package has looked for"));
        }
    });
    state.steps.begin(code, own);
    state.refuse = Some(refuse);
    state.began = Some((Look::now(py), Look::digest(py)));
    state.mode = Mode::Loading;
    drop(state);
    if let Some(reason) = reason {
        return self::refuse(py, &reason);
    }
    place(py, true)?;
    take(py, &[handler])
}

fn place(py: Python<'_>, is_watched: bool) -> PyResult<()> {
    // The functions called here are the interpreter's own.
    state().sealed.as_ref().map_or(Ok(()), |sealed| sealed.hooks.place(py, is_watched))
}

fn stop(py: Python<'_>) -> PyResult<()> {
    state().mode = Mode::Off;
    place(py, false)
}

/// Ends the load. The watch goes on only if the handler may import a module that is not taken yet, or if
/// state has changed.
#[pyfunction]
pub fn end(py: Python<'_>, code: &str) -> PyResult<()> {
    let later = later(py, code)?;
    let is_changed = state().is_changed(py);
    let reason = if is_changed { difference(py)? } else { None };
    match (reason, later) {
        (None, None) => stop(py),
        (Some(reason), Some(name)) => {
            refuse(py, &format!("{reason} ahead of the import of {name}, which is the handler's"))
        }
        _ => {
            state().mode = Mode::Running;
            Ok(())
        }
    }
}

/// A module that is not taken yet and that a function of the code in a folder may import.
fn later(py: Python<'_>, code: &str) -> PyResult<Option<String>> {
    let Some(find) = state().sealed.as_ref().map(|sealed| sealed.hooks.objects.clone_ref(py))
    else {
        return Ok(None);
    };
    let objects = find.bind(py).call0()?;
    let state = state();
    let (modules, mut found) = (&state.modules, None);
    let mut look = |name: &str| {
        if modules.is_untaken(name) {
            found = Some(name.to_owned());
        }
    };
    if let Some(sealed) = &state.sealed {
        // None of these calls runs Python code.
        sealed.hooks.types.names(objects.cast()?, code, &mut look)?;
    }
    Ok(found)
}

/// Does the work of a load ahead of any request, and undoes it. The `folder` has no module of a function.
#[pyfunction]
pub fn rehearse(py: Python<'_>, folder: &str) -> PyResult<()> {
    begin(py, folder, String::new(), py.None())?;
    let mut state = state();
    state.is_changed(py);
    state.modules.rehearse();
    drop(state);
    // Import through the watch that was just placed.
    py.import("sys")?;
    later(py, folder)?;
    stop(py)?;
    let mut state = self::state();
    (state.began, state.refuse) = (None, None);
    Ok(())
}

/// The reason for which the version is to have interpreters of its own, if one was seen while the handler
/// ran.
#[pyfunction]
pub fn unlike() -> Option<String> {
    state().unlike.clone()
}

/// Notes modules that others shadow.
#[pyfunction]
pub fn shadow(names: Vec<String>) {
    for name in names {
        state().modules.shadow(&name);
    }
}

/// Names of modules that are there and not taken.
#[pyfunction]
pub fn untaken(names: Vec<String>) -> Vec<String> {
    let state = state();
    names.into_iter().filter(|name| state.modules.is_untaken(name)).collect()
}

/// Differences from the begin of the load, without attributes.
#[pyfunction]
pub fn differences(py: Python<'_>) -> Option<Differences> {
    Some(state().began.as_ref()?.0.differences(&Look::now(py)))
}

/// The name of a changed attribute, or of a replaced module.
#[pyfunction]
pub fn changed_attribute(py: Python<'_>) -> Option<String> {
    state().sealed.as_ref()?.change(py)
}

//! Imports of what a zygote has imported, by a function's code in the zygote's child.
//!
//! The zygote records which modules each import wanted. In the child, the first import of a module takes it
//! and all that its own import wanted; ahead of that it is seen whether what it may have read is as it was.
//! Nothing that could import is called while the state is locked.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::beside;
use crate::kept::{Actor, Kept};
use crate::later::Types;
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
    /// The steps of the function's modules besides imports.
    pub steps: Steps,
    /// The thread whose imports are recorded.
    pub thread: Option<ThreadId>,
    /// How much was printed.
    pub length: u64,
    /// Events that are something printed: from where to where in all that was.
    pub printed: Vec<(usize, u64, u64)>,
    /// The import system's own `_find_and_load`.
    pub plain: Option<Py<PyAny>>,
    /// Called when `logging` was imported.
    pub loaded: Option<Py<PyAny>>,
    sealed: Option<Sealed>,
    /// Ends the load, once one has begun.
    refuse: Option<Py<PyAny>>,
    /// As it was when the load began, and the digest of what did no harm when it was last seen.
    began: Option<(Look, u64)>,
    /// Versions of tables and of modules that were seen to do no harm, where they are not what they were.
    seen: HashMap<usize, u64>,
    /// Why the version is to have interpreters of its own.
    unlike: Option<String>,
}

/// What the entry points do besides importing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Off,
    /// They note what each import wants.
    Recording,
    /// They see what is taken while a handler is loaded.
    Loading,
    /// They see what is taken while a handler runs.
    Running,
}

/// What a zygote knows when it has imported all.
struct Sealed {
    /// Tables of attributes, with the names that they have for who is told; the first has `__import__`.
    tables: Vec<(String, Table)>,
    /// The modules that there are.
    all: Table,
    by_name: HashMap<String, usize>,
    packages: Kept,
    /// What the runtime has imported for itself, and not every interpreter has.
    early: HashSet<String>,
    /// What imports have looked for and not found.
    missed: HashSet<String>,
    hooks: Hooks,
}

/// Objects of Python that are needed while somebody waits.
#[derive(FromPyObject)]
pub struct Hooks {
    modules: Py<PyDict>,
    /// Where imports begin: `builtins.__import__` first.
    places: Vec<Place>,
    /// Tells what is otherwise and may make a difference.
    difference: Py<PyAny>,
    /// Does what imports have done that anybody could see, or says why it cannot.
    tell: Py<PyAny>,
    /// All objects that are neither the zygote's nor too simple to be tracked.
    objects: Py<PyAny>,
    types: Types,
}

/// A dictionary, a key, the value that watches, and the plain one.
type Place = (Py<PyDict>, Py<PyString>, Py<PyAny>, Py<PyAny>);

/// The state, which nothing may be held by that could import.
pub fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes modules that are there and were not taken yet, with what their imports wanted; not where something
/// is otherwise that these may have read.
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

/// What is otherwise than it was when the load began, and may make a difference.
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

/// Calls what may import without being seen.
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

/// Ends the load because of a reason, and does not return; a handler that runs goes on.
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

    /// Takes what was printed since this was called last for the innermost import's.
    pub fn charge(&mut self) {
        let length = printed_bytes();
        let before = std::mem::replace(&mut self.length, length);
        if length > before
            && let Some(event) = self.modules.happen()
        {
            self.printed.push((event, before, length));
        }
    }

    /// Notes that a module is imported now, which is the child's own import unless the zygote had it.
    pub fn meet_import(&mut self, name: &str) {
        if !self.sealed.as_ref().is_some_and(|sealed| sealed.by_name.contains_key(name)) {
            self.steps.meet_import(name);
        }
    }

    /// Whether anything is otherwise than it was when the load began, and was not seen to do no harm.
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

    /// Something in a module that modules which are taken now use, and that was taken before them, which the
    /// function's code or an import of the child's own has changed meanwhile.
    fn changed_content(&mut self, py: Python<'_>, names: &[String]) -> PyResult<Option<String>> {
        // A handler that runs has done more than import.
        let actor = match self.mode {
            Mode::Loading => self.steps.actor(py)?,
            _ => Some(Actor::Function),
        };
        let (Some(actor), Some(sealed)) = (actor, &self.sealed) else { return Ok(None) };
        Ok(sealed.packages.change(py, &self.modules.used(names), actor))
    }

    /// Takes what is otherwise now for what does no harm.
    fn settle(&mut self, py: Python<'_>) {
        if let Some((_, digest)) = &mut self.began {
            *digest = Look::digest(py);
        }
    }
}

impl Sealed {
    /// An attribute that was changed, or a module.
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
    /// Has imports be seen, or not any more; not where somebody has put something else in the place.
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

/// Ends the recording: a child has all modules without having imported them, but for what is `bare`.
/// `tables` are dictionaries whose entries code may change, with their names; `packages` names of modules that are
/// not the interpreter's; `acting` operations that may change an object.
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
    // It is what runs, and another in what is spawned.
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

/// Watches imports from now on, of a function whose code is in the folder `code`. What ends the load is
/// `refuse`, which is told why.
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
            // The runtime has imported the other one, and who else has cannot be told.
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
    // What it may call is the interpreter's own.
    state().sealed.as_ref().map_or(Ok(()), |sealed| sealed.hooks.place(py, is_watched))
}

fn stop(py: Python<'_>) -> PyResult<()> {
    state().mode = Mode::Off;
    place(py, false)
}

/// Ends the load. Watches on only where the handler may import what nothing has taken yet, or where
/// something is otherwise by now.
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

/// A module that nothing has taken yet, and a function of the code in a folder may import.
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
        // Nothing of it runs code.
        sealed.hooks.types.names(objects.cast()?, code, &mut look)?;
    }
    Ok(found)
}

/// Does what each load does, where nobody waits for it, and leaves nothing of it. No module of a function's
/// is in the `folder`.
#[pyfunction]
pub fn rehearse(py: Python<'_>, folder: &str) -> PyResult<()> {
    begin(py, folder, String::new(), py.None())?;
    let mut state = state();
    state.is_changed(py);
    state.modules.rehearse();
    drop(state);
    // By the watch, as it is placed.
    py.import("sys")?;
    later(py, folder)?;
    stop(py)?;
    let mut state = self::state();
    (state.began, state.refuse) = (None, None);
    Ok(())
}

/// Why the version is to have interpreters of its own, where that was seen when the handler ran.
#[pyfunction]
pub fn unlike() -> Option<String> {
    state().unlike.clone()
}

/// Notes that others are found in the place of modules.
#[pyfunction]
pub fn shadow(names: Vec<String>) {
    for name in names {
        state().modules.shadow(&name);
    }
}

/// Those of the names that are of modules which are there and were not taken.
#[pyfunction]
pub fn untaken(names: Vec<String>) -> Vec<String> {
    let state = state();
    names.into_iter().filter(|name| state.modules.is_untaken(name)).collect()
}

/// What is otherwise than when the load began, but for attributes.
#[pyfunction]
pub fn differences(py: Python<'_>) -> Option<Differences> {
    Some(state().began.as_ref()?.0.differences(&Look::now(py)))
}

/// The name of an attribute that was changed, or of a module.
#[pyfunction]
pub fn changed_attribute(py: Python<'_>) -> Option<String> {
    state().sealed.as_ref()?.change(py)
}

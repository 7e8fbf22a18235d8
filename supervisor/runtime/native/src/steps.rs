//! Steps of a function's modules besides imports: they tell if the function's code can have changed an
//! object by now.

use std::collections::HashSet;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::kept::Actor;

/// Modules of a function whose code has begun, as far as they import anything.
#[derive(Default)]
pub struct Steps {
    /// The folder of the function's code, with a slash at its end.
    folder: String,
    /// Numbers of the bytecode operations that may change an object which other code has too.
    acting: Vec<u8>,
    /// Names of modules in the folder.
    own: HashSet<String>,
    /// True once a module outside of the folder was imported.
    has_imported: bool,
    seen: Vec<Seen>,
}

struct Seen {
    code: Py<PyAny>,
    /// Offset of the first such operation, in bytes, if the code has one.
    first: Option<usize>,
}

impl Steps {
    /// Sets the numbers of operations that may change an object.
    pub fn know(&mut self, acting: Vec<u8>) {
        self.acting = acting;
    }

    /// Begins anew, with the folder of a function's code and the names of modules there.
    pub fn begin(&mut self, folder: &str, own: HashSet<String>) {
        (self.folder, self.own) = (format!("{folder}/"), own);
        self.has_imported = false;
        self.seen.clear();
    }

    /// Notes the import of a module that was not there.
    pub fn meet_import(&mut self, name: &str) {
        self.has_imported |= !self.own.contains(name.split('.').next().unwrap_or(name));
    }

    /// The code that can have changed something by now.
    pub fn actor(&mut self, py: Python<'_>) -> PyResult<Option<Actor>> {
        if self.have_acted(py)? {
            return Ok(Some(Actor::Function));
        }
        Ok(self.has_imported.then_some(Actor::Import))
    }

    /// Notes the code that imports something now, if it is a function's.
    pub fn meet(&mut self, py: Python<'_>) -> PyResult<()> {
        match current(py) {
            Some(frame) => self.enter(&frame).map(drop),
            None => Ok(()),
        }
    }

    /// True if code of the function can have changed something by now.
    fn have_acted(&mut self, py: Python<'_>) -> PyResult<bool> {
        let mut running = vec![false; self.seen.len()];
        let mut next = current(py);
        while let Some(frame) = next {
            if let Some(number) = self.enter(&frame)? {
                running.resize(self.seen.len(), false);
                running[number] = true;
                let last: isize = frame.getattr(intern!(py, "f_lasti"))?.extract()?;
                let last = usize::try_from(last).unwrap_or(0);
                if self.seen[number].first.is_some_and(|first| first <= last) {
                    return Ok(true);
                }
            }
            next = frame.getattr(intern!(py, "f_back")).ok().filter(|frame| !frame.is_none());
        }
        // Modules whose code has ended have run all their operations.
        Ok(self
            .seen
            .iter()
            .zip(running)
            .any(|(one, is_running)| !is_running && one.first.is_some()))
    }

    /// The number of a frame's code, if it is that of a module of the function.
    fn enter(&mut self, frame: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
        let py = frame.py();
        let code = frame.getattr(intern!(py, "f_code"))?;
        if let Some(known) = self.seen.iter().position(|one| one.code.is(&code)) {
            return Ok(Some(known));
        }
        let text = |name: &Bound<'_, PyString>| code.getattr(name)?.extract::<String>();
        if text(intern!(py, "co_name"))? != "<module>"
            || !text(intern!(py, "co_filename"))?.starts_with(&self.folder)
        {
            return Ok(None);
        }
        let bytes = code.getattr(intern!(py, "co_code"))?;
        // An operation and its argument are two bytes.
        let operations = bytes.cast::<PyBytes>()?.as_bytes().iter().step_by(2);
        let first = operations.copied().position(|one| self.acting.contains(&one));
        let first = first.map(|operation| operation * 2);
        self.seen.push(Seen { code: code.unbind(), first });
        Ok(Some(self.seen.len() - 1))
    }
}

/// The Python frame that runs now.
fn current(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // SAFETY: this thread has the interpreter, which refers to the frame that it runs.
    unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyEval_GetFrame().cast()) }
}

//! Modules that a function's code may import when its handler runs.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

/// The types of Python's functions and of their code.
#[derive(FromPyObject)]
pub struct Types {
    function: Py<PyAny>,
    code: Py<PyAny>,
}

impl Types {
    /// Calls `look` with each name and text in the code of the functions among `objects` whose file is in a
    /// folder.
    pub fn names(
        &self,
        objects: &Bound<'_, PyList>,
        folder: &str,
        look: &mut impl FnMut(&str),
    ) -> PyResult<()> {
        let (py, folder) = (objects.py(), PyString::new(objects.py(), &format!("{folder}/")));
        for at in 0..objects.len() {
            // SAFETY: the list refers to the object, and only its type is read.
            let object = unsafe { ffi::PyList_GetItem(objects.as_ptr(), at.cast_signed()) };
            if !is_of(object, &self.function) {
                continue;
            }
            // SAFETY: the list refers to the object.
            let function = unsafe { Bound::from_borrowed_ptr(py, object) };
            let code = function.getattr("__code__")?;
            let file = code.getattr("co_filename")?;
            // SAFETY: both are texts.
            let is_there = unsafe {
                ffi::PyUnicode_Check(file.as_ptr()) != 0
                    && ffi::PyUnicode_Tailmatch(file.as_ptr(), folder.as_ptr(), 0, isize::MAX, -1)
                        == 1
            };
            if is_there {
                self.names_of(&code, look)?;
            }
        }
        Ok(())
    }

    fn names_of(&self, code: &Bound<'_, PyAny>, look: &mut impl FnMut(&str)) -> PyResult<()> {
        for name in code.getattr("co_names")?.cast::<PyTuple>()? {
            look(&name.cast::<PyString>()?.to_cow()?);
        }
        for one in code.getattr("co_consts")?.cast::<PyTuple>()? {
            if is_of(one.as_ptr(), &self.code) {
                self.names_of(&one, look)?;
            } else if let Ok(text) = one.cast::<PyString>() {
                // A text with invalid characters is no module's name, so a lossy copy is good enough.
                look(&text.to_string_lossy());
            }
        }
        Ok(())
    }
}

fn is_of(object: *mut ffi::PyObject, kind: &Py<PyAny>) -> bool {
    // SAFETY: the caller keeps the object alive.
    unsafe { ffi::Py_TYPE(object).cast() == kind.as_ptr() }
}

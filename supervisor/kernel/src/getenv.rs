//! Asks the library that stands before the C library's `getenv`, if a process was started with it.

use std::ffi::{CStr, c_void};

/// Most bytes that the library keeps.
const ROOM: usize = 64 << 10;

type Record = extern "C" fn(bool);
type Names = unsafe extern "C" fn(*mut u8, usize) -> usize;

/// Has the names recorded that are asked for, or not any more.
pub fn record(is_recording: bool) {
    if let Some(symbol) = find(c"pipsqueak_getenv_record") {
        // SAFETY: this is what the library has by this name.
        let record = unsafe { std::mem::transmute::<*mut c_void, Record>(symbol) };
        record(is_recording);
    }
}

/// The names that were recorded; `None` where not all of them are known.
pub fn names() -> Option<Vec<String>> {
    let symbol = find(c"pipsqueak_getenv_names")?;
    // SAFETY: this is what the library has by this name.
    let names = unsafe { std::mem::transmute::<*mut c_void, Names>(symbol) };
    let mut bytes = vec![0; ROOM];
    // SAFETY: the buffer has the room that is told.
    let used = unsafe { names(bytes.as_mut_ptr(), bytes.len()) };
    let found = bytes.get(..used)?.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Some(found.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

fn find(symbol: &CStr) -> Option<*mut c_void> {
    // SAFETY: the symbol is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.as_ptr()) };
    (!found.is_null()).then_some(found)
}

//! Takes the place of the C library's `getenv` in a zygote, and records the names that it is asked for.
//!
//! The dynamic linker loads it ahead of the C library (`LD_PRELOAD`). Every part of a process may ask at any
//! time, in a signal handler or a fork's child too, so it neither allocates nor locks.

use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// Room for names, in bytes: torch, which reads the most of what was looked at, needs 4 KiB.
const ROOM: usize = 64 << 10;
/// Places for the hashes of names, a power of two.
const PLACES: usize = 8192;

static IS_RECORDING: AtomicBool = AtomicBool::new(false);
/// Names, each with a zero behind it.
static NAMES: [AtomicU8; ROOM] = [const { AtomicU8::new(0) }; ROOM];
/// How much of the room is used; more than all of it where a name had none.
static USED: AtomicUsize = AtomicUsize::new(0);
static SEEN: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
/// The functions that this library stands before, once they were looked up.
static GETENV: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
static SECURE_GETENV: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

type Getenv = unsafe extern "C" fn(*const c_char) -> *mut c_char;

/// Takes this library out of the variables before anything copies them: no process that is started later
/// is to load it.
#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;

extern "C" fn loaded() {
    // SAFETY: the name is a C string, and no other thread is there while libraries are loaded.
    unsafe { libc::unsetenv(c"LD_PRELOAD".as_ptr()) };
}

/// As the C library's.
///
/// # Safety
///
/// `name` points to a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getenv(name: *const c_char) -> *mut c_char {
    if IS_RECORDING.load(Ordering::Relaxed) && !name.is_null() {
        // SAFETY: as the caller promises.
        record(unsafe { CStr::from_ptr(name) }.to_bytes_with_nul());
    }
    // SAFETY: as the caller promises.
    unsafe { next(&GETENV, c"getenv", name) }
}

/// As the C library's.
///
/// # Safety
///
/// `name` points to a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn secure_getenv(name: *const c_char) -> *mut c_char {
    if IS_RECORDING.load(Ordering::Relaxed) && !name.is_null() {
        // SAFETY: as the caller promises.
        record(unsafe { CStr::from_ptr(name) }.to_bytes_with_nul());
    }
    // SAFETY: as the caller promises.
    unsafe { next(&SECURE_GETENV, c"secure_getenv", name) }
}

/// Asks the function that this one stands before.
///
/// # Safety
///
/// `symbol` is `getenv` or `secure_getenv`, and `name` points to a C string.
unsafe fn next(known: &AtomicPtr<c_void>, symbol: &CStr, name: *const c_char) -> *mut c_char {
    let mut found = known.load(Ordering::Relaxed);
    if found.is_null() {
        // SAFETY: the symbol is a C string.
        found = unsafe { libc::dlsym(libc::RTLD_NEXT, symbol.as_ptr()) };
        if found.is_null() {
            return std::ptr::null_mut();
        }
        known.store(found, Ordering::Relaxed);
    }
    // SAFETY: this is what functions of these names are, in every C library.
    let found = unsafe { std::mem::transmute::<*mut c_void, Getenv>(found) };
    // SAFETY: as the caller promises.
    unsafe { found(name) }
}

/// Notes a name, which ends in a zero, unless it is known.
fn record(name: &[u8]) {
    if !is_fresh(hash(name)) {
        return;
    }
    let start = USED.fetch_add(name.len(), Ordering::Relaxed);
    if let Some(room) = NAMES.get(start..start + name.len()) {
        room.iter().zip(name).for_each(|(place, byte)| place.store(*byte, Ordering::Relaxed));
    }
}

/// Whether a hash was not seen yet. True, too, when there is no place for it any more.
fn is_fresh(hash: u64) -> bool {
    let first = usize::try_from(hash % PLACES as u64).unwrap_or(0);
    for place in SEEN.iter().cycle().skip(first).take(PLACES) {
        match place.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(other) if other == hash => return false,
            Err(_) => {}
        }
    }
    true
}

/// FNV-1a, never 0.
fn hash(name: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    name.iter().fold(0xcbf2_9ce4_8422_2325, step).max(1)
}

/// Has names recorded from now on, or not any more.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_getenv_record(is_recording: bool) {
    IS_RECORDING.store(is_recording, Ordering::Relaxed);
}

/// Copies the names that were recorded to `out`, each with a zero behind it. Returns how many bytes all of
/// them need: where that is more than `room`, or than what is kept, some are lost.
///
/// # Safety
///
/// `out` has `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_getenv_names(out: *mut u8, room: usize) -> usize {
    let used = USED.load(Ordering::Relaxed);
    for (place, byte) in NAMES.iter().take(used.min(room)).enumerate() {
        // SAFETY: the place is below `room`.
        unsafe { out.add(place).write(byte.load(Ordering::Relaxed)) };
    }
    used
}

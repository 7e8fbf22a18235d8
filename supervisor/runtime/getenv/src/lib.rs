//! A replacement of the C library's `getenv` in a zygote that records the requested names.
//!
//! The dynamic linker loads it ahead of the C library (`LD_PRELOAD`). Any part of a process may call it at
//! any time, also in a signal handler or a fork's child, so it neither allocates nor locks.

use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// Room for names, in bytes: torch, which reads the most of the packages looked at, needs 4 KiB.
const ROOM: usize = 64 << 10;
/// Places for the hashes of names, a power of two.
const PLACES: usize = 8192;

static IS_RECORDING: AtomicBool = AtomicBool::new(false);
/// Recorded names, each with a zero at its end.
static NAMES: [AtomicU8; ROOM] = [const { AtomicU8::new(0) }; ROOM];
/// Used bytes of the room; more than the room if a name did not fit.
static USED: AtomicUsize = AtomicUsize::new(0);
static SEEN: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
/// The C library's functions behind these, once they were looked up.
static GETENV: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
static SECURE_GETENV: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

type Getenv = unsafe extern "C" fn(*const c_char) -> *mut c_char;

/// Removes this library from the variables before any code copies them, so that no process that is started
/// later loads it.
#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;

extern "C" fn loaded() {
    // SAFETY: the name is a C string, and no other thread exists while libraries are loaded.
    unsafe { libc::unsetenv(c"LD_PRELOAD".as_ptr()) };
}

/// Replaces the C library's function of this name.
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

/// Replaces the C library's function of this name.
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

/// Calls the C library's function behind this one.
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
    // SAFETY: functions of these names have this type in every C library.
    let found = unsafe { std::mem::transmute::<*mut c_void, Getenv>(found) };
    // SAFETY: as the caller promises.
    unsafe { found(name) }
}

/// Records a name, which ends in a zero, unless it is known.
fn record(name: &[u8]) {
    if !is_fresh(hash(name)) {
        return;
    }
    let start = USED.fetch_add(name.len(), Ordering::Relaxed);
    if let Some(room) = NAMES.get(start..start + name.len()) {
        room.iter().zip(name).for_each(|(place, byte)| place.store(*byte, Ordering::Relaxed));
    }
}

/// True if a hash was not seen yet, or if there is no place left for it.
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

/// Starts or stops recording names.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_getenv_record(is_recording: bool) {
    IS_RECORDING.store(is_recording, Ordering::Relaxed);
}

/// Copies the recorded names to `out`, each with a zero at its end. Returns the bytes that all of them
/// need. Some names are lost if that is more than `room`, or than the room here.
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

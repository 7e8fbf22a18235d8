//! Locks, from one place: tests with the feature `shuttle` get shuttle's locks instead of the standard
//! library's, and so try the orders in which threads can meet.
//!
//! Such tests are in modules called `shuttled`. A build with the feature runs no other tests, because
//! shuttle's locks work only within shuttle's runs.

#[cfg(all(test, feature = "shuttle"))]
pub use shuttle::sync::{Condvar, Mutex, MutexGuard};
use std::sync::PoisonError;
#[cfg(not(all(test, feature = "shuttle")))]
pub use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Locks a mutex. A panic of an earlier holder is ignored: each change is made in one step, so the
/// content is whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for this duration; under shuttle for ever, because shuttle has no clock.
pub async fn sleep(duration: Duration) {
    if cfg!(all(test, feature = "shuttle")) {
        std::future::pending::<()>().await;
    } else {
        tokio::time::sleep(duration).await;
    }
}

//! Locks, from one place: tests with the feature `shuttle` get shuttle's instead of the standard
//! library's, and so try the orders in which threads can meet.
//!
//! Such tests are in modules called `shuttled`. In a build with the feature no other test runs, because
//! shuttle's locks work within its runs alone.

#[cfg(all(test, feature = "shuttle"))]
pub use shuttle::sync::{Condvar, Mutex, MutexGuard};
use std::sync::PoisonError;
#[cfg(not(all(test, feature = "shuttle")))]
pub use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Locks a mutex. Who panicked with it has left its content whole: each change is made in one step.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for so long; under shuttle for ever, because it has no clock.
pub async fn sleep(duration: Duration) {
    if cfg!(all(test, feature = "shuttle")) {
        std::future::pending::<()>().await;
    } else {
        tokio::time::sleep(duration).await;
    }
}

//! The scheduler among tasks: a waiting task is woken when its turn comes, and leaves the queue when it
//! is given up.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak_policy::fairness::{Arrival, Begin, Bounds, Fair, Number};
use tokio::sync::oneshot;

use crate::sync::{self, Mutex, MutexGuard};

/// Reason that an invocation does not begin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue is full.
    #[error(
        "the queue of function `{function}` is full ({waiting} waiting); try again later, or raise \
         `--queue`"
    )]
    Full {
        /// The function whose queue is full.
        function: String,
        /// Invocations that wait in the queue.
        waiting: u64,
    },
    /// The turn would come too late.
    #[error(
        "the estimated wait of {} exceeds the limit of {}; try again later, or raise `--sandboxes`",
        seconds(*foreseen),
        seconds(*patience)
    )]
    Hopeless {
        /// Estimated wait for the turn.
        foreseen: Duration,
        /// Longest wait that the caller allows.
        patience: Duration,
    },
    /// The turn did not come within this time.
    #[error("its turn has not come within {} ms; try again later", .0.as_millis())]
    Late(Duration),
    /// The client has gone away.
    #[error("its client has gone away")]
    Gone,
}

/// A duration in the form that messages have, such as `5.3 s`.
pub fn seconds(duration: Duration) -> String {
    let told = format!("{:.1}", duration.as_secs_f64());
    format!("{} s", told.trim_end_matches(".0"))
}

/// Gate that lets invocations of all functions in, in turn. Each place holds a `T`, which serves in it.
#[derive(Debug)]
pub struct Gate<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    state: Mutex<State<T>>,
    began: Instant,
}

#[derive(Debug)]
struct State<T> {
    fair: Fair,
    waiting: HashMap<Number, oneshot::Sender<Arc<Place<T>>>>,
    places: HashMap<Number, Arc<Place<T>>>,
}

/// A place, and the `T` that serves in it, once there is one.
#[derive(Debug)]
pub struct Place<T> {
    number: Number,
    serving: tokio::sync::Mutex<Option<T>>,
}

/// The right to run in a place. Dropping it gives the right back.
#[derive(Debug)]
pub struct Turn<T> {
    gate: Arc<Inner<T>>,
    place: Arc<Place<T>>,
    is_ended: bool,
}

/// A place in which no invocation runs any more. Dropping it frees the place for others.
#[derive(Debug)]
pub struct Vacated<T> {
    gate: Arc<Inner<T>>,
    place: Arc<Place<T>>,
}

impl<T> Gate<T> {
    /// A gate for at most `sandboxes` places, and a queue of at most `queue` invocations for each function.
    pub fn new(sandboxes: u32, queue: u32) -> Self {
        let fair = Fair::new(sandboxes, queue);
        let state = State { fair, waiting: HashMap::new(), places: HashMap::new() };
        Self(Arc::new(Inner { state: Mutex::new(state), began: Instant::now() }))
    }

    /// Waits for a turn to run `function`, until `patience` is over or `gone` is ready.
    pub async fn enter(
        &self,
        function: &str,
        bounds: Bounds,
        patience: Duration,
        gone: impl Future<Output = ()>,
    ) -> Result<Turn<T>, Refused> {
        let mut waiting = {
            let mut state = self.0.lock();
            let number = match state.fair.arrive(function, bounds, patience, self.0.now()) {
                Arrival::Begins(number) => {
                    return Ok(Turn::new(&self.0, state.place(number)));
                }
                Arrival::Waits(number) => number,
                Arrival::Full(waiting) => {
                    return Err(Refused::Full { function: function.to_owned(), waiting });
                }
                Arrival::Hopeless(foreseen) => {
                    return Err(Refused::Hopeless { foreseen, patience });
                }
            };
            let (called, call) = oneshot::channel();
            state.waiting.insert(number, called);
            Waiting { gate: &self.0, function, number, call }
        };
        tokio::select! {
            biased;
            called = &mut waiting.call => called.map_err(|_| Refused::Gone).map(|place| {
                Turn::new(&self.0, place)
            }),
            () = gone => Err(Refused::Gone),
            () = sync::sleep(patience) => Err(Refused::Late(patience)),
        }
    }

    /// Forgets what was learned about a function that was removed.
    pub fn forget(&self, function: &str) {
        self.0.lock().fair.forget(function);
    }

    /// Waiting invocations by function; functions without any are left out.
    pub fn waiting(&self) -> BTreeMap<String, u64> {
        self.0.lock().fair.waiting()
    }
}

impl<T> Inner<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        sync::lock(&self.state)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

impl<T> State<T> {
    fn place(&mut self, number: Number) -> Arc<Place<T>> {
        let new = || Arc::new(Place { number, serving: tokio::sync::Mutex::new(None) });
        self.places.entry(number).or_insert_with(new).clone()
    }

    /// Wakes the invocations that begin. They still wait, because giving up needs the state's lock.
    fn call(&mut self, begins: Vec<Begin>) {
        for Begin { waiter, place } in begins {
            let place = self.place(place);
            if let Some(called) = self.waiting.remove(&waiter) {
                let _ = called.send(place);
            }
        }
    }
}

impl<T> Place<T> {
    /// The `T` that serves in the place, for the invocations there. Locked while it is being started.
    pub fn serving(&self) -> &tokio::sync::Mutex<Option<T>> {
        &self.serving
    }
}

impl<T> Turn<T> {
    fn new(gate: &Arc<Inner<T>>, place: Arc<Place<T>>) -> Self {
        Self { gate: gate.clone(), place, is_ended: false }
    }

    /// The place of the turn.
    pub fn place(&self) -> &Place<T> {
        &self.place
    }

    /// Number of sandboxes that now share the processors of the turn's function.
    pub fn sharers(&self) -> u32 {
        self.gate.lock().fair.sharers(self.place.number)
    }

    /// Ends the turn. `ran` is the time in the handler, if that ran to its end. Returns the place if no
    /// other invocation is in it.
    pub fn end(mut self, ran: Option<Duration>) -> Option<Vacated<T>> {
        self.leave(ran)
    }

    fn leave(&mut self, ran: Option<Duration>) -> Option<Vacated<T>> {
        self.is_ended = true;
        let mut state = self.gate.lock();
        let (begins, is_empty) = state.fair.finish(self.place.number, ran, self.gate.now());
        state.call(begins);
        is_empty.then(|| Vacated { gate: self.gate.clone(), place: self.place.clone() })
    }
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        if !self.is_ended {
            drop(self.leave(None));
        }
    }
}

impl<T> Vacated<T> {
    /// Takes out the `T` that has served in the place.
    pub fn take(&self) -> Option<T> {
        // Never locked here: only invocations in the place lock it.
        self.place.serving.try_lock().ok()?.take()
    }
}

impl<T> Drop for Vacated<T> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.places.remove(&self.place.number);
        let begins = state.fair.free(self.place.number, self.gate.now());
        state.call(begins);
    }
}

/// A waiting invocation. Dropping it gives the wait up.
struct Waiting<'a, T> {
    gate: &'a Arc<Inner<T>>,
    function: &'a str,
    number: Number,
    call: oneshot::Receiver<Arc<Place<T>>>,
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        let called = {
            let mut state = self.gate.lock();
            if state.waiting.remove(&self.number).is_some() {
                let begins = state.fair.give_up(self.function, self.number, self.gate.now());
                state.call(begins);
            }
            self.call.try_recv()
        };
        // The turn came just before the wait was given up, so it is given back.
        if let Ok(place) = called {
            drop(Turn::new(self.gate, place));
        }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::future::pending;

    use super::*;

    const ONE: Bounds = Bounds { sandboxes: 1, concurrency: 1 };
    const LONG: Duration = Duration::from_secs(60);

    async fn enter(gate: &Gate<u32>, function: &str) -> Result<Turn<u32>, Refused> {
        gate.enter(function, ONE, LONG, pending()).await
    }

    async fn await_waiting(gate: &Gate<u32>, count: u64) {
        while gate.waiting().values().sum::<u64>() != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_waits_is_called_with_what_served_before() {
        let gate = Arc::new(Gate::new(4, 1));
        let first = enter(&gate, "f").await.unwrap();
        *first.place().serving().lock().await = Some(7);
        let waiting = gate.clone();
        let second = tokio::spawn(async move { enter(&waiting, "f").await });
        await_waiting(&gate, 1).await;
        let full = Refused::Full { function: "f".to_owned(), waiting: 1 };
        assert_eq!(enter(&gate, "f").await.unwrap_err(), full);
        // Not empty, because the second invocation has the place now.
        assert!(first.end(Some(LONG)).is_none());
        let second = second.await.unwrap().unwrap();
        assert_eq!(*second.place().serving().lock().await, Some(7));
        let vacated = second.end(Some(LONG)).unwrap();
        assert_eq!(vacated.take(), Some(7));
        drop(vacated);
        assert_eq!(*enter(&gate, "g").await.unwrap().place().serving().lock().await, None);
    }

    #[tokio::test]
    async fn who_goes_away_or_is_late_leaves_the_queue() {
        let gate = Arc::new(Gate::new(1, 10));
        let first = enter(&gate, "f").await.unwrap();
        let gone = gate.enter("f", ONE, LONG, async {}).await;
        assert_eq!(gone.unwrap_err(), Refused::Gone);
        let short = Duration::from_millis(1);
        let late = gate.enter("f", ONE, short, pending()).await;
        assert_eq!(late.unwrap_err(), Refused::Late(short));
        let waiting = gate.clone();
        let cut_off = tokio::spawn(async move { enter(&waiting, "g").await });
        await_waiting(&gate, 1).await;
        cut_off.abort();
        await_waiting(&gate, 0).await;
        // The handler took a minute, so another invocation would be too late.
        drop(first.end(Some(LONG)));
        let first = enter(&gate, "f").await.unwrap();
        let hopeless = gate.enter("f", ONE, short, pending()).await.unwrap_err();
        let Refused::Hopeless { foreseen, patience } = hopeless else { panic!("{hopeless:?}") };
        assert!(foreseen <= LONG && patience == short);
        drop(first);
        assert!(enter(&gate, "g").await.is_ok());
    }
}

#[cfg(all(test, feature = "shuttle"))]
mod shuttled;

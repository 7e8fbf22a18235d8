//! Attempts to make environments, one for all invocations that wait for the same environment.
//!
//! An attempt is a task of its own. A waiting invocation may leave, by deadline or with its client; the
//! attempt goes on for the others. An attempt without waiters goes on for a *grace*, so that a client
//! that tries again finds it further than before; then it is given up.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak::wire::Progress;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::environment::Audience;
use crate::sync::{self, Mutex, MutexGuard};

/// All attempts that are under way. Their outcome is a `T`.
#[derive(Debug)]
pub struct Attempts<T>(Arc<Mutex<Table<T>>>);

#[derive(Debug)]
struct Table<T> {
    attempts: HashMap<String, Known<T>>,
    /// Waiters by function.
    waiting: BTreeMap<String, u64>,
    next: u64,
}

/// An attempt, as those that may join it know it.
#[derive(Debug)]
struct Known<T> {
    number: u64,
    waiting: watch::Sender<u64>,
    stage: watch::Receiver<Stage<T>>,
    audience: Arc<Audience>,
}

#[derive(Debug, Clone)]
enum Stage<T> {
    /// The attempt waits for its turn.
    Queued,
    /// The attempt works, since this time.
    Begun(Instant),
    Done(T),
}

/// An attempt, as the task that makes it has it. If it is dropped before its end, its waiters are told
/// that no outcome comes.
#[derive(Debug)]
pub struct Attempt<T> {
    table: Arc<Mutex<Table<T>>>,
    key: String,
    number: u64,
    waiting: watch::Receiver<u64>,
    stage: watch::Sender<Stage<T>>,
    audience: Arc<Audience>,
}

/// A waiter for an attempt. Dropping it ends the wait.
#[derive(Debug)]
pub struct Waiter<T> {
    table: Arc<Mutex<Table<T>>>,
    function: String,
    number: u64,
    waiting: watch::Sender<u64>,
    stage: watch::Receiver<Stage<T>>,
    audience: Arc<Audience>,
}

/// Error: this many wait for the function already, and no more may.
#[derive(Debug, PartialEq, Eq)]
pub struct Full(pub u64);

impl<T> Default for Attempts<T> {
    fn default() -> Self {
        let table = Table { attempts: HashMap::new(), waiting: BTreeMap::new(), next: 0 };
        Self(Arc::new(Mutex::new(table)))
    }
}

impl<T: Clone> Attempts<T> {
    /// Waits for the attempt `key` for a function, for which no more than `most` may wait. The first
    /// waiter also gets the attempt, and must run it in a task.
    pub fn join(
        &self,
        key: &str,
        function: &str,
        most: u64,
        progress: &UnboundedSender<Progress>,
    ) -> Result<(Waiter<T>, Option<Attempt<T>>), Full> {
        let mut table = sync::lock(&self.0);
        let ahead = table.waiting.get(function).copied().unwrap_or(0);
        if ahead >= most {
            return Err(Full(ahead));
        }
        let mut attempt = None;
        if !table.attempts.contains_key(key) {
            table.next += 1;
            let number = table.next;
            let (waiting, heard) = watch::channel(0);
            let (stage, seen) = watch::channel(Stage::Queued);
            let audience = Arc::<Audience>::default();
            attempt = Some(Attempt {
                table: self.0.clone(),
                key: key.to_owned(),
                number,
                waiting: heard,
                stage,
                audience: audience.clone(),
            });
            let known = Known { number, waiting, stage: seen, audience };
            table.attempts.insert(key.to_owned(), known);
        }
        table.next += 1;
        let number = table.next;
        *table.waiting.entry(function.to_owned()).or_default() += 1;
        let known = &table.attempts[key];
        known.waiting.send_modify(|waiting| *waiting += 1);
        known.audience.join(number, progress.clone());
        let waiter = Waiter {
            table: self.0.clone(),
            function: function.to_owned(),
            number,
            waiting: known.waiting.clone(),
            stage: known.stage.clone(),
            audience: known.audience.clone(),
        };
        drop(table);
        Ok((waiter, attempt))
    }

    /// Waiters by function.
    pub fn waiting(&self) -> BTreeMap<String, u64> {
        sync::lock(&self.0).waiting.clone()
    }

    /// Gives all attempts up.
    pub fn give_up(&self) {
        for known in sync::lock(&self.0).attempts.values() {
            known.audience.give_up();
        }
    }
}

impl<T: Clone> Attempt<T> {
    /// Does the work of an attempt. Waits for `turn` first, and drops it at the end.
    pub async fn run<P>(
        self,
        grace: Duration,
        turn: impl Future<Output = P>,
        work: impl AsyncFnOnce(P, Arc<Audience>) -> T,
    ) {
        let audience = self.audience.clone();
        let working = async {
            let turn = turn.await;
            self.stage.send_replace(Stage::Begun(Instant::now()));
            work(turn, audience).await
        };
        let mut working = pin!(working);
        tokio::select! {
            biased;
            outcome = &mut working => self.end(outcome),
            () = self.abandoned(grace) => {
                self.audience.give_up();
                if !matches!(*self.stage.borrow(), Stage::Queued) {
                    // The attempt holds its turn until its work has really ended.
                    working.await;
                }
            }
        }
    }

    fn end(&self, outcome: T) {
        // Later waiters begin a new attempt: a failure is only for those that have waited for it.
        self.leave(&mut sync::lock(&self.table));
        self.stage.send_replace(Stage::Done(outcome));
    }

    /// Ends when no waiter came within the grace. After that nobody can join the attempt.
    async fn abandoned(&self, grace: Duration) {
        let mut waiting = self.waiting.clone();
        loop {
            if waiting.wait_for(|waiting| *waiting == 0).await.is_err() {
                return std::future::pending().await;
            }
            if !grace.is_zero() {
                tokio::select! {
                    _ = waiting.wait_for(|waiting| *waiting > 0) => continue,
                    () = sync::sleep(grace) => {}
                }
            }
            let mut table = sync::lock(&self.table);
            if *waiting.borrow() == 0 {
                self.leave(&mut table);
                return;
            }
        }
    }

    fn leave(&self, table: &mut MutexGuard<'_, Table<T>>) {
        if table.attempts.get(&self.key).is_some_and(|known| known.number == self.number) {
            table.attempts.remove(&self.key);
        }
    }
}

impl<T> Drop for Attempt<T> {
    fn drop(&mut self) {
        let mut table = sync::lock(&self.table);
        if table.attempts.get(&self.key).is_some_and(|known| known.number == self.number) {
            table.attempts.remove(&self.key);
        }
        self.audience.give_up();
    }
}

impl<T: Clone> Waiter<T> {
    /// The outcome, and the part of the wait during which the attempt worked. `None` if the attempt was
    /// cut off.
    pub async fn outcome(&mut self) -> Option<(T, Duration)> {
        let joined = Instant::now();
        let mut begun = None;
        loop {
            match &*self.stage.borrow_and_update() {
                Stage::Queued => {}
                Stage::Begun(at) => begun = Some(joined.max(*at)),
                Stage::Done(outcome) => {
                    let worked = begun.map_or(Duration::ZERO, |begun| begun.elapsed());
                    return Some((outcome.clone(), worked));
                }
            }
            self.stage.changed().await.ok()?;
        }
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        self.audience.leave(self.number);
        let mut table = sync::lock(&self.table);
        let left = table.waiting.get(&self.function).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            table.waiting.remove(&self.function);
        } else {
            table.waiting.insert(self.function.clone(), left);
        }
        self.waiting.send_modify(|waiting| *waiting = waiting.saturating_sub(1));
        drop(table);
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    type Outcome = Result<u32, String>;

    fn join(
        attempts: &Attempts<Outcome>,
        key: &str,
        most: u64,
    ) -> Result<(Waiter<Outcome>, Option<Attempt<Outcome>>), Full> {
        attempts.join(key, "f", most, &mpsc::unbounded_channel().0)
    }

    #[tokio::test]
    async fn all_who_wait_share_one_attempt_and_its_failure() {
        let attempts = Attempts::default();
        let (first, attempt) = join(&attempts, "e", 3).unwrap();
        let attempt = attempt.unwrap();
        let (second, none) = join(&attempts, "e", 3).unwrap();
        assert!(none.is_none());
        let (third, none) = join(&attempts, "e", 3).unwrap();
        assert!(none.is_none());
        assert_eq!(join(&attempts, "e", 3).unwrap_err(), Full(3));
        assert_eq!(attempts.waiting(), [("f".to_owned(), 3)].into());
        let (end, ended) = oneshot::channel();
        let work = async move |(), _| ended.await.unwrap();
        let task = tokio::spawn(attempt.run(LONG, async {}, work));
        // A waiter that leaves does not end the attempt.
        drop(first);
        end.send(Err("no such package".to_owned())).unwrap();
        for mut waiter in [second, third] {
            let (outcome, _) = waiter.outcome().await.unwrap();
            assert_eq!(outcome.unwrap_err(), "no such package");
        }
        task.await.unwrap();
        assert_eq!(attempts.waiting(), BTreeMap::new());
        // A later waiter begins a new attempt.
        assert!(join(&attempts, "e", 3).unwrap().1.is_some());
    }

    #[tokio::test]
    async fn an_attempt_that_nobody_waits_for_is_given_up() {
        let attempts = Attempts::default();
        let (waiter, attempt) = join(&attempts, "e", 1).unwrap();
        let work = async |(), audience: Arc<Audience>| {
            while !audience.is_given_up() {
                tokio::task::yield_now().await;
            }
            Err("given up".to_owned())
        };
        let task = tokio::spawn(attempt.unwrap().run(Duration::ZERO, async {}, work));
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        drop(waiter);
        task.await.unwrap();
        // An attempt that has not begun ends as well.
        let (waiter, attempt) = join(&attempts, "e", 1).unwrap();
        drop(waiter);
        let turn = std::future::pending::<()>();
        attempt.unwrap().run(Duration::ZERO, turn, async |(), _| Ok(1)).await;
        assert!(join(&attempts, "e", 1).unwrap().1.is_some());
    }

    #[tokio::test]
    async fn who_waits_for_an_attempt_that_was_cut_off_is_told() {
        let attempts = Attempts::default();
        let (mut waiter, attempt) = join(&attempts, "e", 2).unwrap();
        drop(attempt);
        assert_eq!(waiter.outcome().await, None);
        assert!(join(&attempts, "e", 2).unwrap().1.is_some());
    }
}

#[cfg(all(test, feature = "shuttle"))]
mod shuttled {
    use shuttle::future::{block_on, spawn};
    use shuttle::{check_random, thread};
    use tokio::sync::mpsc;

    use super::*;

    /// In any order of coming, leaving, ending and giving up: a waiter that stays gets an outcome, of
    /// an attempt that was not given up, and nothing is left behind.
    #[test]
    fn who_stays_gets_an_outcome() {
        let run = || {
            let attempts = Arc::new(Attempts::<bool>::default());
            let threads: Vec<_> = (0..4)
                .map(|at| {
                    let attempts = attempts.clone();
                    thread::spawn(move || {
                        let progress = mpsc::unbounded_channel().0;
                        let (mut waiter, attempt) = attempts.join("e", "f", 9, &progress).unwrap();
                        let task = attempt.map(|attempt| {
                            let work = async |(), audience: Arc<Audience>| {
                                shuttle::future::yield_now().await;
                                !audience.is_given_up()
                            };
                            spawn(attempt.run(Duration::ZERO, async {}, work))
                        });
                        if at % 2 == 0 {
                            let (is_wanted, _) = block_on(waiter.outcome()).unwrap();
                            assert!(is_wanted, "it was given up while somebody waited");
                        }
                        drop(waiter);
                        if let Some(task) = task {
                            block_on(task).unwrap();
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(attempts.waiting(), BTreeMap::new());
            assert!(sync::lock(&attempts.0).attempts.is_empty());
        };
        check_random(run, 5_000);
    }
}

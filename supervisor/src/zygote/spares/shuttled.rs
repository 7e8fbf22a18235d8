//! Spares under shuttle: any order of starts, of making spares, and of the zygote's end.

use std::sync::{Arc, Weak};

use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use shuttle::{check_random, thread};

use super::*;

const STARTS: u32 = 3;

/// Counts of all tokens: made, taken, ended.
#[derive(Default)]
struct Fates {
    made: AtomicU32,
    taken: AtomicU32,
    ended: AtomicU32,
}

/// A spare or an empty sandbox. It counts as ended if it is dropped untaken.
struct Token {
    fates: Arc<Fates>,
    is_alive: bool,
    is_taken: AtomicBool,
}

impl Token {
    fn make(fates: &Arc<Fates>, is_alive: bool) -> Self {
        fates.made.fetch_add(1, Ordering::SeqCst);
        Self { fates: fates.clone(), is_alive, is_taken: AtomicBool::new(false) }
    }

    fn take(self) {
        assert!(!self.is_taken.swap(true, Ordering::SeqCst), "one was given twice");
        self.fates.taken.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.is_taken.load(Ordering::SeqCst) {
            self.fates.ended.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Waits for Token {
    fn is_alive(&self) -> bool {
        self.is_alive
    }

    fn bytes(&self) -> u64 {
        1
    }
}

type Ours = Spares<Token, Token>;

/// A start: it gets a spare, or hears at once that it has to make one. Then it refills.
fn start(spares: &Arc<Ours>, fates: &Arc<Fates>, fails_at: Option<u32>) {
    let now = Instant::now();
    match spares.claim(now) {
        Claim::Ready(spare) => {
            assert!(spare.is_alive, "one was given that had ended");
            spare.take();
        }
        // Shuttle ends this as a deadlock if no thread makes the spare or reports that it is not made.
        Claim::Coming(spare) => {
            if let Ok(spare) = block_on(spare) {
                spare.take();
            }
        }
        Claim::Nothing(empty) => {
            if let Some(empty) = empty {
                empty.take();
            }
        }
    }
    if spares.begin_refill(now) {
        refill(&Arc::downgrade(spares), fates, fails_at);
    }
}

/// Refills as the pool does.
fn refill(spares: &Weak<Ours>, fates: &Arc<Fates>, fails_at: Option<u32>) {
    for round in 0.. {
        thread::yield_now();
        let Some(spares) = spares.upgrade() else { return };
        let Some(lack) = spares.lack(Instant::now()) else { return };
        if fails_at == Some(round) {
            if lack == Lack::Spare {
                drop(spares.making());
                thread::yield_now();
                spares.made(None);
            }
            spares.end_refill();
            return;
        }
        match lack {
            Lack::Spare => {
                if let Some(empty) = spares.making() {
                    // A spare is made in it.
                    empty.take();
                }
                thread::yield_now();
                // Every other spare is dead before a start looks.
                let made = Token::make(fates, round % 2 == 0);
                spares.made(Some((made, Duration::from_millis(1))));
            }
            Lack::Sandbox => spares.keep_empty(Token::make(fates, true)),
        }
    }
}

fn check(fails_at: Option<u32>, ends_early: bool) {
    let run = move || {
        let fates = Arc::<Fates>::default();
        let spares = Arc::new(Ours::new(2, Instant::now()));
        let threads: Vec<_> = (0..STARTS)
            .map(|_| {
                let (spares, fates) = (spares.clone(), fates.clone());
                thread::spawn(move || start(&spares, &fates, fails_at))
            })
            .collect();
        let evicting = {
            let spares = spares.clone();
            thread::spawn(move || {
                spares.trim(Instant::now());
                spares.clear();
            })
        };
        let kept = if ends_early {
            drop(spares);
            None
        } else {
            Some(spares)
        };
        for thread in threads {
            thread.join().unwrap();
        }
        evicting.join().unwrap();
        if let Some(spares) = kept {
            // Every refill has ended, so another start can begin one.
            let state = spares.lock();
            assert!(!state.refilling && matches!(state.making, Making::Nothing));
            let kept = u32::try_from(state.waiting.len() + state.empty.len()).unwrap();
            let [made, taken, ended] =
                [&fates.made, &fates.taken, &fates.ended].map(|one| one.load(Ordering::SeqCst));
            assert_eq!(made, taken + ended + kept, "one was lost");
            drop(state);
            drop(spares);
        }
        // Nothing waits that belongs to a dropped zygote.
        let [made, taken, ended] =
            [&fates.made, &fates.taken, &fates.ended].map(|one| one.load(Ordering::SeqCst));
        assert_eq!(made, taken + ended, "one waits for ever");
    };
    check_random(run, 5_000);
}

#[test]
fn a_spare_is_taken_once_and_none_is_lost() {
    check(None, false);
}

#[test]
fn who_waits_for_one_that_is_not_made_hears_of_it() {
    check(Some(0), false);
    check(Some(1), false);
}

#[test]
fn those_of_a_zygote_that_is_gone_end() {
    check(None, true);
    check(Some(1), true);
}

//! The gate under shuttle, in any order of threads.

use std::future::{pending, ready};

use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::{check_random, thread};

use super::*;

const LONG: Duration = Duration::from_secs(60);
const SANDBOXES: u32 = 2;

/// Invocations that are inside now, by function, and all that were served.
#[derive(Default)]
struct Inside {
    of: [AtomicU32; 2],
    served: AtomicU32,
}

/// Two functions, three calls of each, some of whose clients go away: bounds are kept, all calls that
/// stay are served, and in the end nothing waits and every place is free.
#[test]
fn no_turn_is_lost_and_bounds_are_kept() {
    let run = || {
        let gate = Arc::new(Gate::<u32>::new(SANDBOXES, 9));
        let inside = Arc::new(Inside::default());
        let bounds =
            [Bounds { sandboxes: 2, concurrency: 1 }, Bounds { sandboxes: 1, concurrency: 2 }];
        let threads: Vec<_> = (0..6)
            .map(|at| {
                let (gate, inside, of) = (gate.clone(), inside.clone(), at % 2);
                thread::spawn(move || call(&gate, &inside, of, bounds[of], at == 3 || at == 4))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(inside.served.load(Ordering::SeqCst) >= 4, "a turn was lost");
        assert_eq!(gate.waiting(), BTreeMap::new());
        let state = gate.0.lock();
        assert!(state.places.is_empty() && state.waiting.is_empty());
        drop(state);
        // Every place can be taken again.
        let again: Vec<_> = (0..SANDBOXES)
            .map(|_| block_on(gate.enter("0", bounds[0], LONG, ready(()))).unwrap())
            .collect();
        drop(again);
    };
    check_random(run, 5_000);
}

fn call(gate: &Gate<u32>, inside: &Inside, of: usize, bounds: Bounds, goes_away: bool) {
    let name = of.to_string();
    let entered = if goes_away {
        block_on(gate.enter(&name, bounds, LONG, ready(())))
    } else {
        block_on(gate.enter(&name, bounds, LONG, pending()))
    };
    let turn = match entered {
        Ok(turn) => turn,
        Err(Refused::Gone) if goes_away => return,
        Err(refused) => panic!("{refused}"),
    };
    let mine = 1 + inside.of[of].fetch_add(1, Ordering::SeqCst);
    assert!(mine <= bounds.sandboxes * bounds.concurrency);
    thread::yield_now();
    inside.of[of].fetch_sub(1, Ordering::SeqCst);
    inside.served.fetch_add(1, Ordering::SeqCst);
    // Dropping a turn gives the place back like ending it.
    if mine == 1 {
        drop(turn);
    } else if let Some(vacated) = turn.end(Some(Duration::ZERO)) {
        thread::yield_now();
        drop(vacated);
    }
}

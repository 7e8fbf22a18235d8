use proptest::prelude::*;

use super::*;

const NONE: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(3600);

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn bounds(sandboxes: u32, concurrency: u32) -> Bounds {
    Bounds { sandboxes, concurrency }
}

/// Begins an invocation, which must be possible at once.
fn begin(fair: &mut Fair, function: &str, bounds: Bounds) -> Number {
    match fair.arrive(function, bounds, LONG, NONE) {
        Arrival::Begins(place) => place,
        other => panic!("{function} did not begin: {other:?}"),
    }
}

fn wait(fair: &mut Fair, function: &str, bounds: Bounds) -> Number {
    match fair.arrive(function, bounds, LONG, NONE) {
        Arrival::Waits(waiter) => waiter,
        other => panic!("{function} does not wait: {other:?}"),
    }
}

/// Ends an invocation, and frees its place if that is empty. Returns the waiters that begin.
fn end(fair: &mut Fair, place: Number, now: Duration) -> Vec<Begin> {
    let (mut begins, is_empty) = fair.finish(place, Some(ms(10)), now);
    if is_empty {
        begins.extend(fair.free(place, now));
    }
    begins
}

#[test]
fn a_sandbox_is_filled_before_another_is_opened_and_the_rest_waits() {
    let mut fair = Fair::new(10, 1);
    let two_by_two = bounds(2, 2);
    let places: Vec<_> = (0..4).map(|_| begin(&mut fair, "f", two_by_two)).collect();
    assert_eq!(places[0], places[1]);
    assert_eq!(places[2], places[3]);
    assert_ne!(places[0], places[2]);
    let waiter = wait(&mut fair, "f", two_by_two);
    assert_eq!(fair.arrive("f", two_by_two, LONG, NONE), Arrival::Full(1));
    assert_eq!(end(&mut fair, places[2], ms(1)), [Begin { waiter, place: places[2] }]);
}

#[test]
fn a_free_place_goes_to_who_has_the_fewest_not_to_who_asked_first() {
    let mut fair = Fair::new(3, 100);
    let flood: Vec<_> = (0..3).map(|_| begin(&mut fair, "flood", bounds(8, 1))).collect();
    for _ in 0..50 {
        wait(&mut fair, "flood", bounds(8, 1));
    }
    let quiet = wait(&mut fair, "quiet", bounds(8, 1));
    assert_eq!(fair.sharers(flood[1]), 3);
    let begins = end(&mut fair, flood[0], ms(10));
    assert_eq!([fair.sharers(flood[1]), fair.sharers(begins[0].place)], [2, 1]);
    assert_eq!(begins.iter().map(|begin| begin.waiter).collect::<Vec<_>>(), [quiet]);
}

#[test]
fn one_place_is_shared_by_time_and_not_by_count() {
    let mut fair = Fair::new(1, 100);
    let mut now = NONE;
    let mut place = begin(&mut fair, "slow", bounds(1, 1));
    let mut names = HashMap::new();
    for _ in 0..90 {
        for name in ["slow", "quick"] {
            names.insert(wait(&mut fair, name, bounds(1, 1)), name);
        }
    }
    let mut running = "slow";
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for _ in 0..90 {
        now += ms(if running == "slow" { 80 } else { 10 });
        let begins = end(&mut fair, place, now);
        assert_eq!(begins.len(), 1);
        place = begins[0].place;
        running = names[&begins[0].waiter];
        *counts.entry(running).or_default() += 1;
    }
    assert!((75..=82).contains(&counts["quick"]), "{counts:?}");
}

#[test]
fn a_place_of_many_is_cleared_for_a_function_that_has_none() {
    let mut fair = Fair::new(2, 100);
    let many = bounds(2, 3);
    let places: Vec<_> = (0..6).map(|_| begin(&mut fair, "many", many)).collect();
    for _ in 0..20 {
        wait(&mut fair, "many", many);
    }
    let other = wait(&mut fair, "other", bounds(1, 1));
    // The one that is emptied first is promised; the other goes on.
    assert_eq!(end(&mut fair, places[0], ms(10)), []);
    assert_eq!(end(&mut fair, places[5], ms(10)).len(), 1);
    assert_eq!(end(&mut fair, places[1], ms(11)), []);
    let begins = end(&mut fair, places[2], ms(12));
    assert_eq!(begins.iter().map(|begin| begin.waiter).collect::<Vec<_>>(), [other]);
    // When it gives up before, its promise ends.
    let place = begins[0].place;
    let other = wait(&mut fair, "third", bounds(1, 1));
    assert_eq!(end(&mut fair, places[3], ms(13)), []);
    assert_eq!(fair.give_up("third", other, ms(14)).len(), 1);
    assert_eq!(end(&mut fair, place, ms(15)).len(), 3);
}

/// Runs one invocation to its end, which leaves the function idle.
fn run(fair: &mut Fair, function: &str, bounds: Bounds, began: Duration, ran: Duration) {
    let Arrival::Begins(place) = fair.arrive(function, bounds, LONG, began) else { panic!() };
    let now = began + ran;
    fair.finish(place, Some(ran), now);
    fair.free(place, now);
}

#[test]
fn what_cannot_be_in_time_is_foreseen_from_what_runs() {
    let mut fair = Fair::new(4, 100);
    let two = bounds(2, 1);
    run(&mut fair, "f", two, NONE, ms(100));
    for _ in 0..2 {
        assert!(matches!(fair.arrive("f", two, NONE, ms(100)), Arrival::Begins(_)));
    }
    // The running invocations take another 100 ms; in 60 ms, another 40.
    assert_eq!(fair.arrive("f", two, ms(99), ms(100)), Arrival::Hopeless(ms(100)));
    assert!(matches!(fair.arrive("f", two, ms(40), ms(160)), Arrival::Waits(_)));
    // An invocation that takes longer than any before may end at any time.
    assert!(matches!(fair.arrive("f", two, ms(1), ms(400)), Arrival::Waits(_)));
    // Nothing is known of `g`, so it may hope; an invocation that begins at once is not judged.
    assert!(matches!(fair.arrive("g", bounds(1, 1), NONE, ms(100)), Arrival::Begins(_)));
    assert!(matches!(fair.arrive("g", bounds(1, 1), NONE, ms(100)), Arrival::Waits(_)));
}

#[test]
fn who_waits_ahead_counts_by_what_runs_take_now() {
    let mut fair = Fair::new(4, 100);
    let one = bounds(1, 1);
    let mut now = NONE;
    let mut place = begin(&mut fair, "f", one);
    for _ in 0..6 {
        wait(&mut fair, "f", one);
    }
    for _ in 0..4 {
        now += ms(100);
        let (begins, _) = fair.finish(place, Some(ms(100)), now);
        place = begins[0].place;
    }
    // One invocation runs and two wait.
    assert_eq!(fair.arrive("f", one, ms(299), now), Arrival::Hopeless(ms(300)));
    assert!(matches!(fair.arrive("f", one, ms(300), now), Arrival::Waits(_)));
}

#[test]
fn what_was_slow_before_refuses_nobody_now() {
    let mut fair = Fair::new(16, 100);
    let eight = bounds(8, 1);
    let second = ms(1000);
    for at in 0..20 {
        run(&mut fair, "slow", eight, 5 * second * at, ms(4999));
    }
    let mut now = 1000 * second;
    let mut places = VecDeque::new();
    for _ in 0..8 {
        let Arrival::Begins(place) = fair.arrive("slow", eight, 5 * second, now) else { panic!() };
        places.push_back(place);
    }
    // All waiters arrive at once, and each is let in.
    for _ in 0..92 {
        let arrival = fair.arrive("slow", eight, 5 * second, now);
        assert!(matches!(arrival, Arrival::Waits(_)), "{arrival:?}");
    }
    for _ in 0..92 {
        now += ms(25);
        let place = places.pop_front().unwrap();
        let (begins, _) = fair.finish(place, Some(ms(200)), now);
        places.extend(begins.iter().map(|begin| begin.place));
    }
    assert_eq!(fair.waiting(), BTreeMap::new());
}

#[test]
fn timeouts_and_places_of_others_refuse_nobody() {
    let mut fair = Fair::new(2, 100);
    let one = bounds(1, 1);
    for at in 1..10 {
        let place = begin(&mut fair, "f", one);
        // Cut off.
        fair.finish(place, None, ms(5000 * at));
        fair.free(place, ms(5000 * at));
    }
    let now = ms(60_000);
    let _place = begin(&mut fair, "f", one);
    assert!(matches!(fair.arrive("f", one, ms(1), now), Arrival::Waits(_)));
    // `f` runs nothing: no estimate of its next place exists.
    run(&mut fair, "g", one, now, ms(5000));
    begin(&mut fair, "h", one);
    assert!(matches!(fair.arrive("g", one, ms(1), now), Arrival::Waits(_)));
}

proptest! {
    /// Property: any earlier run times, and any patience.
    #[test]
    fn nobody_is_refused_while_nothing_runs(
        past in proptest::collection::vec(0..10_000u64, 0..20),
        patience in 0..10u64,
    ) {
        let mut fair = Fair::new(1, 10);
        let mut now = NONE;
        for ran in past {
            run(&mut fair, "f", bounds(1, 1), now, ms(ran));
            now += ms(ran);
        }
        let arrival = fair.arrive("f", bounds(1, 1), ms(patience), now);
        prop_assert!(matches!(arrival, Arrival::Begins(_)));
    }
}

#[derive(Debug, Clone)]
enum Act {
    Arrive(usize),
    End(usize),
    GiveUp(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..4usize).prop_map(Act::Arrive),
        3 => (0..64usize).prop_map(Act::End),
        1 => (0..64usize).prop_map(Act::GiveUp),
    ];
    proptest::collection::vec(act, 0..200)
}

/// The model of the outside: the running invocations, and the waiting ones in order.
#[derive(Default)]
struct Model {
    running: Vec<(usize, Number)>,
    waiting: Vec<(usize, Number)>,
}

impl Model {
    fn take(&mut self, begins: Vec<Begin>) {
        for Begin { waiter, place } in begins {
            let at = self.waiting.iter().position(|(_, number)| *number == waiter).unwrap();
            let (function, _) = self.waiting.remove(at);
            // First come, first served, within a function.
            assert!(!self.waiting[..at].iter().any(|(other, _)| *other == function));
            self.running.push((function, place));
        }
    }

    fn inside(&self) -> BTreeMap<(usize, Number), u32> {
        let mut inside = BTreeMap::new();
        for at in &self.running {
            *inside.entry(*at).or_default() += 1;
        }
        inside
    }

    fn check(&self, fair: &Fair, most: u32, all: &[Bounds]) {
        let inside = self.inside();
        assert!(inside.len() <= most as usize);
        let numbers: BTreeSet<_> = inside.keys().map(|(_, number)| number).collect();
        assert_eq!(numbers.len(), inside.len(), "two functions in one place");
        let has_room = inside.len() < most as usize;
        for (function, bounds) in all.iter().enumerate() {
            let own: Vec<_> = inside.iter().filter(|((owner, _), _)| *owner == function).collect();
            assert!(own.len() <= bounds.sandboxes as usize);
            assert!(own.iter().all(|(_, count)| **count <= bounds.concurrency));
            let waits = self.waiting.iter().filter(|(waiting, _)| *waiting == function).count();
            let told = fair.waiting().get(&function.to_string()).copied().unwrap_or(0);
            assert_eq!(waits as u64, told);
            // No place stays idle while an invocation waits that could use it.
            let may_open = has_room && own.len() < bounds.sandboxes as usize;
            assert!(waits == 0 || !may_open, "{function} waits for a place that is free");
            let slots = own.iter().filter(|(_, count)| **count < bounds.concurrency).count();
            let others_wait = self.waiting.iter().any(|(waiting, _)| *waiting != function);
            assert!(waits == 0 || slots == 0 || others_wait, "{function} waits for a slot");
        }
    }
}

proptest! {
    #[test]
    fn bounds_are_kept_nothing_idles_and_nobody_starves(
        acts in acts(),
        most in 1..5u32,
        all in proptest::collection::vec((1..4u32, 1..4u32), 4),
    ) {
        let all: Vec<_> = all.into_iter().map(|(s, c)| bounds(s, c)).collect();
        let mut fair = Fair::new(most, 1000);
        let mut model = Model::default();
        let mut now = NONE;
        let finish = |fair: &mut Fair, model: &mut Model, at: usize, now: Duration| {
            let (_, place) = model.running.remove(at);
            let (begins, is_empty) = fair.finish(place, None, now);
            model.take(begins);
            if is_empty {
                model.take(fair.free(place, now));
            }
        };
        for act in acts {
            now += ms(1);
            match act {
                Act::Arrive(function) => {
                    match fair.arrive(&function.to_string(), all[function], LONG, now) {
                        Arrival::Begins(place) => model.running.push((function, place)),
                        Arrival::Waits(waiter) => model.waiting.push((function, waiter)),
                        refused => panic!("{refused:?}"),
                    }
                }
                Act::End(at) if !model.running.is_empty() => {
                    let at = at % model.running.len();
                    finish(&mut fair, &mut model, at, now);
                }
                Act::GiveUp(at) if !model.waiting.is_empty() => {
                    let at = at % model.waiting.len();
                    let (function, waiter) = model.waiting.remove(at);
                    model.take(fair.give_up(&function.to_string(), waiter, now));
                }
                Act::End(_) | Act::GiveUp(_) => {}
            }
            model.check(&fair, most, &all);
        }
        // During a flood of one function, an invocation of another begins before 64 of the flood have ended.
        let flood = 0;
        let mut others = model.waiting.iter().filter(|(function, _)| *function != flood).count();
        let mut ends = 0;
        while others > 0 {
            now += ms(1);
            match fair.arrive("0", all[flood], LONG, now) {
                Arrival::Begins(place) => model.running.push((flood, place)),
                Arrival::Waits(waiter) => model.waiting.push((flood, waiter)),
                refused => panic!("{refused:?}"),
            }
            finish(&mut fair, &mut model, 0, now);
            ends += 1;
            let left = model.waiting.iter().filter(|(function, _)| *function != flood).count();
            if left < others {
                (others, ends) = (left, 0);
            }
            prop_assert!(ends <= 4 * 4 * 4, "nobody of the others has begun");
        }
    }
}

//! The order in which invocations begin, and their places: data in, decisions out; no clock, no task,
//! no sandbox.
//!
//! The machine has *places*, each for one sandbox that serves. A place belongs to a function as long as
//! an invocation is inside, and takes as many invocations as one sandbox of the function does. A free
//! slot in a place goes to the next invocation of the same function. A free place goes to the waiting
//! function that has the fewest places; among several, to the one that has used places for the shortest
//! time. Within a function, invocations begin in the order of their arrival.
//!
//! If other functions have less than a function, the function's emptiest places are *promised* to them:
//! the invocations inside end, and no other of the function follows.

mod run_times;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use run_times::RunTimes;

/// Least use that holding a place counts for, so that a function whose runs end at once also takes
/// turns.
const LEAST_USE: Duration = Duration::from_micros(1);

/// Limits on what a function may have at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Number of places; at least 1.
    pub sandboxes: u32,
    /// Number of invocations in each place; at least 1.
    pub concurrency: u32,
}

/// Number of a place or of a waiter, never used twice.
pub type Number = u64;

/// The outcome of an invocation's arrival.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The invocation begins in this place.
    Begins(Number),
    /// The invocation waits, as the waiter of this number.
    Waits(Number),
    /// The queue of the function is full, with this many waiters.
    Full(u64),
    /// The invocation would not begin in time; the estimated wait.
    Hopeless(Duration),
}

/// The begin of an invocation that has waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The waiter that begins.
    pub waiter: Number,
    /// The place in which it begins.
    pub place: Number,
}

/// The scheduler.
#[derive(Debug)]
pub struct Fair {
    /// Maximum number of places.
    most: usize,
    /// Maximum number of waiters of one function.
    queue: usize,
    functions: HashMap<String, Share>,
    /// Functions with waiters.
    hungry: BTreeSet<String>,
    places: BTreeMap<Number, Place>,
    next: Number,
    /// Use that a function is credited with when it stops being idle: the least use of the busy
    /// functions.
    used: Duration,
}

#[derive(Debug)]
struct Share {
    bounds: Bounds,
    waiting: VecDeque<Number>,
    places: u32,
    used: Duration,
    ran: RunTimes,
}

impl Share {
    fn is_idle(&self) -> bool {
        self.places == 0 && self.waiting.is_empty()
    }
}

#[derive(Debug)]
struct Place {
    function: String,
    bounds: Bounds,
    inside: u32,
    /// Sum of the times at which the invocations inside began.
    begun: Duration,
    /// True if the place is being cleared: no invocation begins in it any more.
    is_left: bool,
    /// Time up to which the use of the place is counted.
    counted: Duration,
}

impl Fair {
    /// A scheduler of `most` places, with at most `queue` waiters for each function.
    pub fn new(most: u32, queue: u32) -> Self {
        Self {
            most: most as usize,
            queue: queue as usize,
            functions: HashMap::new(),
            hungry: BTreeSet::new(),
            places: BTreeMap::new(),
            next: 1,
            used: Duration::ZERO,
        }
    }

    /// Handles the arrival of an invocation of `function` that waits no longer than `patience`.
    pub fn arrive(
        &mut self,
        function: &str,
        bounds: Bounds,
        patience: Duration,
        now: Duration,
    ) -> Arrival {
        self.activate(function, bounds, now);
        let share = self.share(function);
        let ahead = share.waiting.len();
        if ahead > 0 {
            if ahead >= self.queue {
                return Arrival::Full(ahead as u64);
            }
        } else if let Some(place) = self.place_for(function) {
            return Arrival::Begins(self.enter(function, place, now));
        }
        if self.queue == 0 {
            return Arrival::Full(0);
        }
        if let Some(wait) = self.foreseen(function, ahead, now).filter(|wait| *wait > patience) {
            return Arrival::Hopeless(wait);
        }
        let waiter = self.number();
        self.share(function).waiting.push_back(waiter);
        self.hungry.insert(function.to_owned());
        Arrival::Waits(waiter)
    }

    /// Removes a waiter. Returns the waiters that begin.
    pub fn give_up(&mut self, function: &str, waiter: Number, now: Duration) -> Vec<Begin> {
        let share = self.share(function);
        share.waiting.retain(|waiting| *waiting != waiter);
        if share.waiting.is_empty() {
            self.hungry.remove(function);
        }
        self.settle(now)
    }

    /// Handles the end of an invocation in a place; `ran` is its run time, or `None` if it was cut off.
    /// Returns the waiters that begin, and true if the place is now empty: the caller then clears the
    /// place and gives it back with [`Self::free`].
    pub fn finish(
        &mut self,
        number: Number,
        ran: Option<Duration>,
        now: Duration,
    ) -> (Vec<Begin>, bool) {
        let Some(place) = self.places.get_mut(&number) else { return (Vec::new(), false) };
        // The place knows only the sum of the begins: subtract that of the invocation that ended, by its
        // run time, or else the mean.
        let mean = place.begun / place.inside.max(1);
        place.inside = place.inside.saturating_sub(1);
        let began = ran.map_or(mean, |ran| now.saturating_sub(ran));
        place.begun =
            if place.inside == 0 { Duration::ZERO } else { place.begun.saturating_sub(began) };
        let used = now.saturating_sub(place.counted).max(LEAST_USE);
        place.counted = now;
        let function = place.function.clone();
        let share = self.share(&function);
        share.used += used;
        if let Some(ran) = ran {
            share.ran.note(ran);
        }
        let begins = self.settle(now);
        let place = self.places.get_mut(&number);
        let is_empty = place.is_some_and(|place| {
            place.is_left = place.inside == 0;
            place.is_left
        });
        (begins, is_empty)
    }

    /// Takes back an empty place that was cleared. Returns the waiters that begin.
    pub fn free(&mut self, number: Number, now: Duration) -> Vec<Begin> {
        let Some(place) = self.places.remove(&number) else { return Vec::new() };
        let share = self.share(&place.function);
        share.places -= 1;
        let used = share.used;
        if share.is_idle() {
            share.ran.of_now = 0;
        }
        if self.places.is_empty() && self.hungry.is_empty() {
            self.used = self.used.max(used);
        }
        self.settle(now)
    }

    /// Forgets a function that was removed.
    pub fn forget(&mut self, function: &str) {
        if self.functions.get(function).is_some_and(Share::is_idle) {
            self.functions.remove(function);
        }
    }

    /// Number of places that share a function's part of the processors: all of the function's places
    /// while some invocation waits, else 1.
    pub fn sharers(&self, number: Number) -> u32 {
        if self.hungry.is_empty() {
            return 1;
        }
        let owner = self.places.get(&number).and_then(|at| self.functions.get(&at.function));
        owner.map_or(1, |share| share.places)
    }

    /// Number of waiters of each function that has any.
    pub fn waiting(&self) -> BTreeMap<String, u64> {
        let count = |name: &String| (name.clone(), self.functions[name].waiting.len() as u64);
        self.hungry.iter().map(count).collect()
    }

    /// Updates a function's bounds. Raises the use of an idle function to the least of the others.
    fn activate(&mut self, function: &str, bounds: Bounds, now: Duration) {
        let is_idle = self.functions.get(function).is_none_or(Share::is_idle);
        if is_idle {
            self.count(now);
            let holding = self.places.values().map(|place| &place.function);
            let others = holding.chain(&self.hungry).filter_map(|name| self.functions.get(name));
            if let Some(least) = others.map(|share| share.used).min() {
                self.used = self.used.max(least);
            }
        }
        let floor = self.used;
        let share = self.functions.entry(function.to_owned()).or_insert_with(|| Share {
            bounds,
            waiting: VecDeque::new(),
            places: 0,
            used: floor,
            ran: RunTimes::default(),
        });
        share.bounds = bounds;
        if is_idle {
            share.used = share.used.max(floor);
        }
    }

    /// Counts the use of all places up to now.
    fn count(&mut self, now: Duration) {
        for place in self.places.values_mut() {
            if let Some(share) = self.functions.get_mut(&place.function) {
                share.used += now.saturating_sub(place.counted);
            }
            place.counted = now;
        }
    }

    /// Lets every waiter begin that can.
    fn settle(&mut self, now: Duration) -> Vec<Begin> {
        let mut begins = Vec::new();
        if self.hungry.is_empty() {
            return begins;
        }
        self.count(now);
        while let Some((function, place)) = self.next_to_begin() {
            let share = self.share(&function);
            let Some(waiter) = share.waiting.pop_front() else { break };
            if share.waiting.is_empty() {
                self.hungry.remove(&function);
            }
            let place = self.enter(&function, place, now);
            begins.push(Begin { waiter, place });
        }
        begins
    }

    /// The function whose first waiter begins next, and the place.
    fn next_to_begin(&self) -> Option<(String, Where)> {
        let joins = self.hungry.iter().find_map(|name| Some((name, self.slot_for(name)?)));
        if let Some((name, place)) = joins {
            return Some((name.clone(), Where::In(place)));
        }
        let openers = self.hungry.iter().filter(|name| self.may_open(name));
        let poorest = openers.min_by_key(|name| {
            let share = &self.functions[*name];
            (share.places, share.used, share.waiting.front())
        });
        poorest.map(|name| (name.clone(), Where::New))
    }

    /// The place in which an invocation of a function can begin if no other waits ahead of it.
    fn place_for(&self, function: &str) -> Option<Where> {
        let slot = self.slot_for(function).map(Where::In);
        slot.or_else(|| self.may_open(function).then_some(Where::New))
    }

    fn may_open(&self, function: &str) -> bool {
        let is_below = |share: &Share| share.places < share.bounds.sandboxes;
        self.places.len() < self.most && self.functions.get(function).is_some_and(is_below)
    }

    /// The fullest place of a function that takes another invocation, so that its other places become
    /// empty.
    fn slot_for(&self, function: &str) -> Option<Number> {
        if self.functions.get(function).is_none_or(|share| share.places == 0) {
            return None;
        }
        let mut held: Vec<_> = self
            .places
            .iter()
            .filter(|(_, place)| place.function == function && !place.is_left)
            .map(|(number, place)| (place.inside, *number, place.bounds.concurrency))
            .collect();
        let has_room = |&(inside, _, most): &(u32, Number, u32)| inside < most;
        if !held.iter().any(has_room) {
            return None;
        }
        // Sort by number too, so that among equally empty places always the same one is promised and
        // empties.
        held.sort_unstable();
        let kept = &held[self.promised(function).min(held.len())..];
        kept.iter().rfind(|place| has_room(place)).map(|&(_, number, _)| number)
    }

    /// Number of a function's places that are promised to others.
    fn promised(&self, function: &str) -> usize {
        if self.places.len() < self.most {
            return 0;
        }
        let share = &self.functions[function];
        let without_one = (share.places.saturating_sub(1), share.used);
        let poorer = self.hungry.iter().filter(|name| *name != function).filter(|name| {
            let other = &self.functions[*name];
            other.places < other.bounds.sandboxes && (other.places, other.used) < without_one
        });
        let on_their_way = self.places.values().filter(|place| place.is_left).count();
        poorer.count().saturating_sub(on_their_way)
    }

    /// Least wait of an invocation behind `ahead` others, as far as known. The first slot is free once
    /// the oldest running invocation has run for the shortest recent time; then those ahead run. `None`
    /// if the function is due another place, because nothing tells when that comes.
    fn foreseen(&self, function: &str, ahead: usize, now: Duration) -> Option<Duration> {
        let share = self.functions.get(function)?;
        let holding: BTreeSet<_> =
            self.places.values().map(|place| &place.function).chain(&self.hungry).collect();
        let others = holding.iter().filter(|name| name.as_str() != function).count();
        let fair = u32::try_from(self.most / (others + 1)).unwrap_or(u32::MAX).max(1);
        let places = fair.max(share.places).min(share.bounds.sandboxes);
        if share.places < places {
            return None;
        }
        let own =
            self.places.values().filter(|place| place.function == function && place.inside > 0);
        let longest = own.map(|place| now.saturating_sub(place.begun / place.inside)).max()?;
        let first = share.ran.least()?.saturating_sub(longest);
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        let slots = places.saturating_mul(share.bounds.concurrency).max(1);
        let queue =
            share.ran.median_of_now().map_or(Duration::ZERO, |one| one.saturating_mul(ahead));
        Some(first + queue / slots)
    }

    fn enter(&mut self, function: &str, place: Where, now: Duration) -> Number {
        match place {
            Where::In(number) => {
                if let Some(place) = self.places.get_mut(&number) {
                    place.inside += 1;
                    place.begun += now;
                }
                number
            }
            Where::New => {
                let number = self.number();
                let share = self.share(function);
                share.places += 1;
                let bounds = share.bounds;
                let place = Place {
                    function: function.to_owned(),
                    bounds,
                    inside: 1,
                    begun: now,
                    is_left: false,
                    counted: now,
                };
                self.places.insert(number, place);
                number
            }
        }
    }

    fn number(&mut self) -> Number {
        self.next += 1;
        self.next
    }

    fn share(&mut self, function: &str) -> &mut Share {
        // Every function that is asked for has been seen to arrive.
        self.functions.entry(function.to_owned()).or_insert_with(|| Share {
            bounds: Bounds { sandboxes: 1, concurrency: 1 },
            waiting: VecDeque::new(),
            places: 0,
            used: Duration::ZERO,
            ran: RunTimes::default(),
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Where {
    In(Number),
    New,
}

#[cfg(test)]
mod tests;

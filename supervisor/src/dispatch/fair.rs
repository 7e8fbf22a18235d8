//! Who begins next, and where: data in, decisions out; no clock, no task, no sandbox.
//!
//! The machine has *places*, each for one sandbox that serves. A place belongs to a function for as
//! long as an invocation is inside, and takes as many of them as the function's sandboxes take at
//! once. What is free goes to whoever waits: a slot in a place to the next invocation of its
//! function, a place to the function that has the fewest, and of several to the one that has had
//! places for the shortest time. Within a function those who came first begin first.
//!
//! Where others are worse off than a function, its emptiest places are *promised*: who is inside
//! ends, and nobody of the function comes after.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// The part of the mean that the newest run time is, as a divisor.
const MEAN_OVER: u32 = 8;
/// What holding a place counts for at least, so that who ends at once comes last too.
const LEAST_USE: Duration = Duration::from_micros(1);

/// What a function may have at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Places; at least 1.
    pub sandboxes: u32,
    /// Invocations in each; at least 1.
    pub concurrency: u32,
}

/// Numbers of places and of who waits, never used twice.
pub type Number = u64;

/// What becomes of an invocation that arrives.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It begins in this place.
    Begins(Number),
    /// It waits, as this number.
    Waits(Number),
    /// As many wait as may.
    Full,
    /// It would not begin in time: so long, as things are, it would wait.
    Hopeless(Duration),
}

/// One who has waited begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Who.
    pub waiter: Number,
    /// In which place.
    pub place: Number,
}

/// The scheduler.
#[derive(Debug)]
pub struct Fair {
    /// Most places.
    most: usize,
    /// Most who wait for one function.
    queue: usize,
    functions: HashMap<String, Share>,
    /// Functions for which somebody waits.
    hungry: BTreeSet<String>,
    places: BTreeMap<Number, Place>,
    next: Number,
    /// What a function is taken to have used at least: what the others have meanwhile.
    used: Duration,
}

#[derive(Debug)]
struct Share {
    bounds: Bounds,
    waiting: VecDeque<Number>,
    places: u32,
    used: Duration,
    /// Mean run time of late.
    mean: Option<Duration>,
}

#[derive(Debug)]
struct Place {
    function: String,
    bounds: Bounds,
    inside: u32,
    /// Whether it is being cleared: nobody begins in it any more.
    is_left: bool,
    /// Up to when its use is counted.
    counted: Duration,
}

impl Fair {
    /// A machine with so many places at most, on which so many wait for one function at most.
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

    /// An invocation of `function` arrives, which waits no longer than `patience`.
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
                return Arrival::Full;
            }
        } else if let Some(place) = self.place_for(function) {
            return Arrival::Begins(self.enter(function, place, now));
        }
        if self.queue == 0 {
            return Arrival::Full;
        }
        if let Some(wait) = self.foreseen(function, ahead).filter(|wait| *wait > patience) {
            return Arrival::Hopeless(wait);
        }
        let waiter = self.number();
        self.share(function).waiting.push_back(waiter);
        self.hungry.insert(function.to_owned());
        Arrival::Waits(waiter)
    }

    /// One who waits goes away. Who begins instead.
    pub fn give_up(&mut self, function: &str, waiter: Number, now: Duration) -> Vec<Begin> {
        let share = self.share(function);
        share.waiting.retain(|waiting| *waiting != waiter);
        if share.waiting.is_empty() {
            self.hungry.remove(function);
        }
        self.settle(now)
    }

    /// An invocation in a place has ended, after running for so long where it did. Who begins
    /// instead, and whether the place is empty now: then it is to be cleared and to be given back
    /// with [`Self::free`].
    pub fn finish(
        &mut self,
        number: Number,
        ran: Option<Duration>,
        now: Duration,
    ) -> (Vec<Begin>, bool) {
        let Some(place) = self.places.get_mut(&number) else { return (Vec::new(), false) };
        place.inside -= 1;
        let used = now.saturating_sub(place.counted).max(LEAST_USE);
        place.counted = now;
        let function = place.function.clone();
        let share = self.share(&function);
        share.used += used;
        if let Some(ran) = ran {
            share.mean = Some(
                share
                    .mean
                    .map_or(ran, |mean| mean.saturating_sub(mean / MEAN_OVER) + ran / MEAN_OVER),
            );
        }
        let begins = self.settle(now);
        let place = self.places.get_mut(&number);
        let is_empty = place.is_some_and(|place| {
            place.is_left = place.inside == 0;
            place.is_left
        });
        (begins, is_empty)
    }

    /// A place that was empty is cleared. Who begins in it.
    pub fn free(&mut self, number: Number, now: Duration) -> Vec<Begin> {
        let Some(place) = self.places.remove(&number) else { return Vec::new() };
        let share = self.share(&place.function);
        share.places -= 1;
        let used = share.used;
        if self.places.is_empty() && self.hungry.is_empty() {
            self.used = self.used.max(used);
        }
        self.settle(now)
    }

    /// Forgets what was learned of a function that is no more.
    pub fn forget(&mut self, function: &str) {
        let is_idle = |share: &Share| share.places == 0 && share.waiting.is_empty();
        if self.functions.get(function).is_some_and(is_idle) {
            self.functions.remove(function);
        }
    }

    /// Among how many places a function's part of the processors is to be shared: all it has, while
    /// somebody waits for something.
    pub fn sharers(&self, number: Number) -> u32 {
        if self.hungry.is_empty() {
            return 1;
        }
        let owner = self.places.get(&number).and_then(|at| self.functions.get(&at.function));
        owner.map_or(1, |share| share.places)
    }

    /// How many wait for each function, of those for which somebody does.
    pub fn waiting(&self) -> BTreeMap<String, u64> {
        let count = |name: &String| (name.clone(), self.functions[name].waiting.len() as u64);
        self.hungry.iter().map(count).collect()
    }

    /// Takes a function's bounds, and lets one that was idle begin where the others are.
    fn activate(&mut self, function: &str, bounds: Bounds, now: Duration) {
        let is_idle = self
            .functions
            .get(function)
            .is_none_or(|share| share.places == 0 && share.waiting.is_empty());
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
            mean: None,
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

    /// Lets begin whoever can.
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

    /// The function whose first waiter begins next, and where.
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

    /// Where an invocation of a function can begin, if nobody waits ahead of it.
    fn place_for(&self, function: &str) -> Option<Where> {
        let slot = self.slot_for(function).map(Where::In);
        slot.or_else(|| self.may_open(function).then_some(Where::New))
    }

    fn may_open(&self, function: &str) -> bool {
        let is_below = |share: &Share| share.places < share.bounds.sandboxes;
        self.places.len() < self.most && self.functions.get(function).is_some_and(is_below)
    }

    /// A place of a function that takes another invocation: the fullest, so that others get empty.
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
        // Of those that are as empty always the same is promised, so that it gets empty.
        held.sort_unstable();
        let kept = &held[self.promised(function).min(held.len())..];
        kept.iter().rfind(|place| has_room(place)).map(|&(_, number, _)| number)
    }

    /// How many of a function's places are promised to others.
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

    /// How long who comes after so many others would wait, as far as run times tell.
    fn foreseen(&self, function: &str, ahead: usize) -> Option<Duration> {
        let share = self.functions.get(function)?;
        let holding: BTreeSet<_> =
            self.places.values().map(|place| &place.function).chain(&self.hungry).collect();
        let others = holding.iter().filter(|name| name.as_str() != function).count();
        let fair = u32::try_from(self.most / (others + 1)).unwrap_or(u32::MAX).max(1);
        let places = fair.max(share.places).min(share.bounds.sandboxes);
        let ahead = u32::try_from(ahead + 1).unwrap_or(u32::MAX);
        let slots = places.saturating_mul(share.bounds.concurrency).max(1);
        Some(share.mean?.saturating_mul(ahead) / slots)
    }

    fn enter(&mut self, function: &str, place: Where, now: Duration) -> Number {
        match place {
            Where::In(number) => {
                if let Some(place) = self.places.get_mut(&number) {
                    place.inside += 1;
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
            mean: None,
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

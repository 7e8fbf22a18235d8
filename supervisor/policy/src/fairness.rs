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

/// Run times of a function that are remembered.
const RECENT: usize = 8;
/// How many of them must be of now, for those who wait to be judged by them.
const EVIDENCE: usize = 4;
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
    /// As many wait as may: so many.
    Full(u64),
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
    ran: RunTimes,
}

impl Share {
    fn is_idle(&self) -> bool {
        self.places == 0 && self.waiting.is_empty()
    }
}

/// Run times of late, the newest first. Those that were cut off by their timeout are not among them: they
/// do not tell how long the next runs.
#[derive(Debug, Default)]
struct RunTimes {
    recent: [Duration; RECENT],
    known: usize,
    /// How many of them ended since the function had nothing to do.
    of_now: usize,
}

impl RunTimes {
    fn note(&mut self, ran: Duration) {
        self.recent.rotate_right(1);
        self.recent[0] = ran;
        self.known = RECENT.min(self.known + 1);
        self.of_now = RECENT.min(self.of_now + 1);
    }

    /// What no recent one has gone below.
    fn least(&self) -> Option<Duration> {
        self.recent[..self.known].iter().min().copied()
    }

    /// What half of those of now have not gone above, where there are enough to say so.
    fn median_of_now(&self) -> Option<Duration> {
        let mut of_now = self.recent;
        let of_now = &mut of_now[..self.of_now];
        of_now.sort_unstable();
        (of_now.len() >= EVIDENCE).then(|| of_now[(of_now.len() - 1) / 2])
    }
}

#[derive(Debug)]
struct Place {
    function: String,
    bounds: Bounds,
    inside: u32,
    /// When those who are inside have begun, added up.
    begun: Duration,
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

    /// One who waits goes away. Who begins instead.
    pub fn give_up(&mut self, function: &str, waiter: Number, now: Duration) -> Vec<Begin> {
        let share = self.share(function);
        share.waiting.retain(|waiting| *waiting != waiter);
        if share.waiting.is_empty() {
            self.hungry.remove(function);
        }
        self.settle(now)
    }

    /// An invocation in a place has ended, after running for so long where it ran to its end. Who begins
    /// instead, and whether the place is empty now: then it is to be cleared and to be given back
    /// with [`Self::free`].
    pub fn finish(
        &mut self,
        number: Number,
        ran: Option<Duration>,
        now: Duration,
    ) -> (Vec<Begin>, bool) {
        let Some(place) = self.places.get_mut(&number) else { return (Vec::new(), false) };
        // Those inside are not told apart: the one that ended is taken for one that began when it did,
        // or when they did on average.
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

    /// A place that was empty is cleared. Who begins in it.
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

    /// Forgets what was learned of a function that is no more.
    pub fn forget(&mut self, function: &str) {
        if self.functions.get(function).is_some_and(Share::is_idle) {
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

    /// How long one that comes after so many others waits at least, as far as that is known: until the
    /// first of those who run has run for as long as the shortest of late, and then for those ahead. Nothing
    /// where the function has a place to come, because nothing tells when.
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

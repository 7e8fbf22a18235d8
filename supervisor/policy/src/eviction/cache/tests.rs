use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Keep {
        owner: u8,
        bytes: u64,
        start: Option<u64>,
    },
    Take(u8),
    /// Takes a value, rather an even one.
    TakeEven(u8),
    Resize {
        owner: u8,
        bytes: u64,
    },
    Shrink(u64),
    TakeAll(u8),
    Forget(u8),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let keep = (0..4u8, 0..100u64, proptest::option::of(0..50u64));
    let act = prop_oneof![
        4 => keep.prop_map(|(owner, bytes, start)| Act::Keep { owner, bytes, start }),
        2 => (0..4u8).prop_map(Act::Take),
        2 => (0..4u8).prop_map(Act::TakeEven),
        1 => (0..4u8, 0..100u64).prop_map(|(owner, bytes)| Act::Resize { owner, bytes }),
        1 => (0..300u64).prop_map(Act::Shrink),
        1 => (0..4u8).prop_map(Act::TakeAll),
        1 => (0..4u8).prop_map(Act::Forget),
    ];
    proptest::collection::vec(act, 0..80)
}

/// The kept values, as a plain list in the order of keeping.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    owner: u8,
    bytes: u64,
    worth: f64,
    value: usize,
}

/// Uses and start seconds by owner, and a clock.
#[derive(Debug, Default)]
struct Model {
    kept: Vec<Kept>,
    uses: [u64; 4],
    seconds: [f64; 4],
    clock: f64,
}

impl Model {
    fn victim(&self) -> Option<usize> {
        let least = self.kept.iter().map(|kept| kept.worth).min_by(f64::total_cmp)?;
        self.kept.iter().position(|kept| kept.worth.total_cmp(&least).is_eq())
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn worth(&self, policy: Policy, owner: u8, bytes: u64) -> f64 {
        let at = usize::from(owner);
        match policy {
            Policy::Lru => 0.0,
            Policy::GreedyDual { .. } => {
                self.clock + self.uses[at] as f64 * self.seconds[at] / bytes.max(1) as f64
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.kept.iter().map(|kept| kept.bytes).sum()
    }

    fn take_all(&mut self, owner: u8) -> Vec<usize> {
        let (mut taken, kept): (Vec<_>, Vec<_>) =
            self.kept.drain(..).partition(|kept| kept.owner == owner);
        self.kept = kept;
        taken.sort_by(|one, other| one.worth.total_cmp(&other.worth));
        taken.into_iter().map(|kept| kept.value).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn compare(policy: Policy, acts: Vec<Act>) -> Result<(), TestCaseError> {
    let mut cache = Cache::new(policy);
    let mut model = Model::default();
    let mut numbers = Vec::new();
    for (value, act) in acts.into_iter().enumerate() {
        match act {
            Act::Keep { owner, bytes, start } => {
                let at = usize::from(owner);
                model.uses[at] += 1;
                if let Some(start) = start {
                    model.seconds[at] = start as f64;
                }
                let worth = model.worth(policy, owner, bytes);
                model.kept.push(Kept { owner, bytes, worth, value });
                let start = start.map(Duration::from_secs);
                let number = cache.keep(&owner.to_string(), bytes, start, value);
                numbers.push((value, number));
                prop_assert_eq!(cache.get_mut(&owner.to_string(), number).copied(), Some(value));
                prop_assert_eq!(cache.get_mut(&(owner ^ 1).to_string(), number), None);
            }
            Act::Take(owner) => {
                let position = model.kept.iter().rposition(|kept| kept.owner == owner);
                let expected = position.map(|position| model.kept.remove(position).value);
                prop_assert_eq!(cache.take(&owner.to_string()), expected);
            }
            Act::TakeEven(owner) => {
                let of_owner = |kept: &Kept| kept.owner == owner;
                let even = |kept: &Kept| of_owner(kept) && kept.value.is_multiple_of(2);
                let position = model.kept.iter().rposition(even);
                let position = position.or_else(|| model.kept.iter().rposition(of_owner));
                let expected = position.map(|position| model.kept.remove(position).value);
                let taken = cache.take_rather(&owner.to_string(), |value| value.is_multiple_of(2));
                prop_assert_eq!(taken, expected);
            }
            Act::Resize { owner, bytes } => {
                let worth = model.worth(policy, owner, bytes);
                if let Some(kept) = model.kept.iter_mut().rfind(|kept| kept.owner == owner) {
                    (kept.bytes, kept.worth) = (bytes, worth);
                    let number = numbers.iter().find(|(value, _)| *value == kept.value);
                    cache.resize(
                        &owner.to_string(),
                        number.map_or(0, |(_, number)| *number),
                        bytes,
                    );
                }
            }
            Act::Shrink(budget) => {
                let mut expected = Vec::new();
                while model.bytes() > budget
                    && let Some(victim) = model.victim()
                {
                    let gone = model.kept.remove(victim);
                    model.clock = gone.worth;
                    if model.kept.iter().all(|kept| kept.owner != gone.owner) {
                        model.uses[usize::from(gone.owner)] = 0;
                    }
                    expected.push(gone.value);
                }
                prop_assert_eq!(cache.shrink(budget), expected);
            }
            Act::TakeAll(owner) => {
                let taken = cache.take_all(|name, _| name == owner.to_string());
                prop_assert_eq!(taken, model.take_all(owner));
            }
            Act::Forget(owner) => {
                let mut taken = cache.forget(&owner.to_string());
                let mut expected = model.take_all(owner);
                taken.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(taken, expected);
                (model.uses[usize::from(owner)], model.seconds[usize::from(owner)]) = (0, 0.0);
            }
        }
        prop_assert_eq!(cache.bytes(), model.bytes());
        let mut order = model.kept.clone();
        order.sort_by(|one, other| one.worth.total_cmp(&other.worth));
        let order: Vec<_> = order.into_iter().map(|kept| kept.value).collect();
        prop_assert_eq!(cache.iter().map(|(_, _, value)| *value).collect::<Vec<_>>(), order);
    }
    Ok(())
}

proptest! {
    #[test]
    fn lru_does_what_a_plain_list_does(acts in acts()) {
        compare(Policy::Lru, acts)?;
    }

    #[test]
    fn greedy_dual_does_what_a_plain_list_does(acts in acts()) {
        compare(Policy::greedy_dual(), acts)?;
    }
}

#[test]
fn what_is_used_often_and_starts_slowly_stays_until_the_clock_has_passed_it() {
    let mut cache = Cache::new(Policy::greedy_dual());
    let second = Some(Duration::from_secs(1));
    cache.keep("slow", 10, second, 0);
    for value in 1..4 {
        cache.keep("quick", 10, Some(Duration::from_millis(400)), value);
        let gone = cache.shrink(10);
        // The quick one was evicted twice, each time moving the clock; the third time it is worth more.
        assert_eq!(gone, [if value < 3 { value } else { 0 }]);
    }
}

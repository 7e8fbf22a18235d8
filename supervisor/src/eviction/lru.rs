//! Least recently used first: pure order and sums, no knowledge of what is kept.

use std::collections::VecDeque;

/// Kept things in the order of their last use, with an owner and a size each.
#[derive(Debug)]
pub struct Lru<T> {
    entries: VecDeque<Entry<T>>,
    bytes: u64,
}

#[derive(Debug)]
struct Entry<T> {
    owner: String,
    bytes: u64,
    value: T,
}

impl<T> Default for Lru<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Lru<T> {
    /// Keeps a value as the most recently used.
    pub fn keep(&mut self, owner: &str, bytes: u64, value: T) {
        self.bytes += bytes;
        self.entries.push_back(Entry { owner: owner.to_owned(), bytes, value });
    }

    /// Takes the owner's most recently used value.
    pub fn take(&mut self, owner: &str) -> Option<T> {
        let position = self.entries.iter().rposition(|entry| entry.owner == owner)?;
        self.remove(position)
    }

    /// Takes the value that has not been used for longest.
    pub fn take_oldest(&mut self) -> Option<T> {
        self.remove(0)
    }

    /// Takes every value that `choose` chooses by owner and value.
    pub fn take_all(&mut self, mut choose: impl FnMut(&str, &T) -> bool) -> Vec<T> {
        let entries = std::mem::take(&mut self.entries);
        let (taken, kept): (VecDeque<_>, VecDeque<_>) =
            entries.into_iter().partition(|entry| choose(&entry.owner, &entry.value));
        self.entries = kept;
        self.bytes = self.entries.iter().map(|entry| entry.bytes).sum();
        taken.into_iter().map(|entry| entry.value).collect()
    }

    /// Sum of the sizes, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Owner, size and value of each, least recently used first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64, &T)> {
        self.entries.iter().map(|entry| (entry.owner.as_str(), entry.bytes, &entry.value))
    }

    fn remove(&mut self, position: usize) -> Option<T> {
        let entry = self.entries.remove(position)?;
        self.bytes -= entry.bytes;
        Some(entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Act {
        Keep(u8, u64),
        Take(u8),
        TakeOldest,
        TakeAll(u8),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            (0..4u8, 0..100u64).prop_map(|(owner, bytes)| Act::Keep(owner, bytes)),
            (0..4u8).prop_map(Act::Take),
            Just(Act::TakeOldest),
            (0..4u8).prop_map(Act::TakeAll),
        ];
        proptest::collection::vec(act, 0..60)
    }

    proptest! {
        #[test]
        fn it_does_what_a_plain_list_does(acts in acts()) {
            let mut lru = Lru::default();
            let mut model: Vec<(u8, u64, usize)> = Vec::new();
            for (number, act) in acts.into_iter().enumerate() {
                match act {
                    Act::Keep(owner, bytes) => {
                        lru.keep(&owner.to_string(), bytes, number);
                        model.push((owner, bytes, number));
                    }
                    Act::Take(owner) => {
                        let position = model.iter().rposition(|kept| kept.0 == owner);
                        let expected = position.map(|position| model.remove(position).2);
                        prop_assert_eq!(lru.take(&owner.to_string()), expected);
                    }
                    Act::TakeOldest => {
                        let expected = (!model.is_empty()).then(|| model.remove(0).2);
                        prop_assert_eq!(lru.take_oldest(), expected);
                    }
                    Act::TakeAll(owner) => {
                        let taken = lru.take_all(|name, _| name == owner.to_string());
                        let expected: Vec<_> =
                            model.iter().filter(|kept| kept.0 == owner).map(|kept| kept.2).collect();
                        model.retain(|kept| kept.0 != owner);
                        prop_assert_eq!(taken, expected);
                    }
                }
                prop_assert_eq!(lru.bytes(), model.iter().map(|kept| kept.1).sum::<u64>());
                let order: Vec<_> = lru.iter().map(|(_, _, value)| *value).collect();
                prop_assert_eq!(order, model.iter().map(|kept| kept.2).collect::<Vec<_>>());
            }
        }
    }
}

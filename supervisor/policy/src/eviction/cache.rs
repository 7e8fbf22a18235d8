//! Kept items in the order of their worth: order and sums alone, no knowledge of the items.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::policy::{Policy, Use};

/// Kept items, any number for each owner.
#[derive(Debug)]
pub struct Cache<T> {
    policy: Policy,
    entries: BTreeMap<Rank, Entry<T>>,
    owners: HashMap<String, Owner>,
    bytes: u64,
    last_number: u64,
}

#[derive(Debug)]
struct Entry<T> {
    owner: String,
    bytes: u64,
    value: T,
}

/// The history of an owner, also while it has nothing here.
#[derive(Debug, Default)]
struct Owner {
    uses: u64,
    start: Duration,
    /// Ranks of the owner's items, in the order in which they were kept.
    ranks: Vec<Rank>,
}

/// A place in the order of eviction.
#[derive(Debug, Clone, Copy)]
struct Rank {
    worth: f64,
    number: u64,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.worth.total_cmp(&other.worth).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

impl<T> Cache<T> {
    /// A cache that keeps nothing yet.
    pub fn new(policy: Policy) -> Self {
        let (entries, owners) = (BTreeMap::new(), HashMap::new());
        Self { policy, entries, owners, bytes: 0, last_number: 0 }
    }

    /// Keeps a value that was just used, and returns its number. `start` is the time that the value's
    /// start took, if it was started for this use.
    pub fn keep(&mut self, owner: &str, bytes: u64, start: Option<Duration>, value: T) -> u64 {
        let known = self.owners.entry(owner.to_owned()).or_default();
        known.uses += 1;
        known.start = start.unwrap_or(known.start);
        let used = Use { count: known.uses, start: known.start, bytes };
        self.last_number += 1;
        let rank = Rank { worth: self.policy.worth(&used), number: self.last_number };
        known.ranks.push(rank);
        self.bytes += bytes;
        self.entries.insert(rank, Entry { owner: owner.to_owned(), bytes, value });
        rank.number
    }

    /// Takes the owner's most recently kept value.
    pub fn take(&mut self, owner: &str) -> Option<T> {
        self.take_rather(owner, |_| true)
    }

    /// Takes the owner's most recently kept value of those that `is_better`, or else of all.
    pub fn take_rather(&mut self, owner: &str, is_better: impl Fn(&T) -> bool) -> Option<T> {
        let ranks = &self.owners.get(owner)?.ranks;
        let is_better =
            |rank: &&Rank| self.entries.get(rank).is_some_and(|it| is_better(&it.value));
        let rank = *ranks.iter().rev().find(is_better).or(ranks.last())?;
        self.remove_at(rank)
    }

    /// The owner's value of a number, if the cache still has it.
    pub fn get_mut(&mut self, owner: &str, number: u64) -> Option<&mut T> {
        let rank = self.owners.get(owner)?.ranks.iter().find(|rank| rank.number == number)?;
        self.entries.get_mut(rank).map(|entry| &mut entry.value)
    }

    /// Changes the size of the owner's value of a number, if the cache still has it, and its worth
    /// accordingly.
    pub fn resize(&mut self, owner: &str, number: u64, bytes: u64) {
        let Some(known) = self.owners.get_mut(owner) else { return };
        let used = Use { count: known.uses, start: known.start, bytes };
        let Some(rank) = known.ranks.iter_mut().find(|rank| rank.number == number) else { return };
        let Some(mut entry) = self.entries.remove(rank) else { return };
        rank.worth = self.policy.worth(&used);
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
        self.entries.insert(*rank, entry);
    }

    /// Takes the owner's value of a number, if the cache still has it.
    pub fn remove(&mut self, owner: &str, number: u64) -> Option<T> {
        let rank = *self.owners.get(owner)?.ranks.iter().find(|rank| rank.number == number)?;
        self.remove_at(rank)
    }

    /// Takes the values worth least until the rest has at most `budget` bytes.
    pub fn shrink(&mut self, budget: u64) -> Vec<T> {
        let mut taken = Vec::new();
        while self.bytes > budget
            && let Some((&rank, entry)) = self.entries.first_key_value()
        {
            let owner = entry.owner.clone();
            taken.extend(self.remove_at(rank));
            self.policy.made_room(rank.worth);
            if let Some(owner) = self.owners.get_mut(&owner).filter(|owner| owner.ranks.is_empty())
            {
                owner.uses = 0;
            }
        }
        taken
    }

    /// Takes every value that `choose` chooses by owner and value, least worth first.
    pub fn take_all(&mut self, mut choose: impl FnMut(&str, &T) -> bool) -> Vec<T> {
        let chosen = self.entries.iter().filter(|(_, entry)| choose(&entry.owner, &entry.value));
        let ranks: Vec<_> = chosen.map(|(rank, _)| *rank).collect();
        ranks.into_iter().filter_map(|rank| self.remove_at(rank)).collect()
    }

    /// Takes all values of an owner, and forgets the owner's history.
    pub fn forget(&mut self, owner: &str) -> Vec<T> {
        let known = self.owners.remove(owner).unwrap_or_default();
        known.ranks.into_iter().filter_map(|rank| self.remove_at(rank)).collect()
    }

    /// Sum of the sizes, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Owner, size and value of each item, in the order in which they would be evicted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64, &T)> {
        self.entries.values().map(|entry| (entry.owner.as_str(), entry.bytes, &entry.value))
    }

    fn remove_at(&mut self, rank: Rank) -> Option<T> {
        let entry = self.entries.remove(&rank)?;
        self.bytes -= entry.bytes;
        if let Some(owner) = self.owners.get_mut(&entry.owner) {
            owner.ranks.retain(|kept| *kept != rank);
        }
        Some(entry.value)
    }
}

#[cfg(test)]
mod tests;

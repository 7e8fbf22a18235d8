//! Sets of small numbers, as bits. Two sets of the same members are equal, whatever they contained
//! before.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// A number that a set can hold: assigned from 0 on, so that no bits are wasted.
pub trait Id: Copy {
    /// The id of a place.
    fn at(place: usize) -> Self;
    /// The place of the id.
    fn place(self) -> usize;
}

/// A set of ids. This is our own code, because the usual crates' bit sets compare their lengths too,
/// and these sets grow while names are added.
pub struct Set<T> {
    /// The last word is never 0.
    words: Vec<u64>,
    of: PhantomData<T>,
}

impl<T: Id> Set<T> {
    /// A set without members.
    pub const fn new() -> Self {
        Self { words: Vec::new(), of: PhantomData }
    }

    /// Adds a member. True if it is new.
    pub fn insert(&mut self, id: T) -> bool {
        let (word, bit) = (id.place() / 64, 1 << (id.place() % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    /// True if the set has this member.
    pub fn contains(&self, id: T) -> bool {
        self.words.get(id.place() / 64).is_some_and(|word| word & (1 << (id.place() % 64)) != 0)
    }

    /// True if all members are also in the other set.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.words.len() <= other.words.len()
            && self.words.iter().zip(&other.words).all(|(own, others)| own & !others == 0)
    }

    /// The members that both sets have.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self::of(self.words.iter().zip(&other.words).map(|(own, others)| own & others).collect())
    }

    /// The members that the other set lacks.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let others = other.words.iter().copied().chain(std::iter::repeat(0));
        Self::of(self.words.iter().zip(others).map(|(own, others)| own & !others).collect())
    }

    /// Adds the members of another set.
    pub fn extend_from(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (own, others) in self.words.iter_mut().zip(&other.words) {
            *own |= others;
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// True if the set has no members.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The members, in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.words
            .iter()
            .enumerate()
            .flat_map(|(place, &word)| Bits(word).map(move |bit| T::at(place * 64 + bit)))
    }

    /// Sum of the members' weights.
    pub fn weight(&self, weights: &[f64]) -> f64 {
        self.iter().map(|id| weights[id.place()]).sum()
    }

    /// Sum of the weights of the members that both sets have.
    pub fn common_weight(&self, other: &Self, weights: &[f64]) -> f64 {
        let words = self.words.iter().zip(&other.words).enumerate();
        words
            .flat_map(|(place, (own, others))| Bits(own & others).map(move |bit| place * 64 + bit))
            .map(|place| weights[place])
            .sum()
    }

    fn of(mut words: Vec<u64>) -> Self {
        while words.last() == Some(&0) {
            words.pop();
        }
        Self { words, of: PhantomData }
    }
}

/// The places of a word's bits.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit as usize)
    }
}

impl<T> Clone for Set<T> {
    fn clone(&self) -> Self {
        Self { words: self.words.clone(), of: PhantomData }
    }
}

impl<T: Id> Default for Set<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> PartialEq for Set<T> {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

impl<T> Eq for Set<T> {}

impl<T> Hash for Set<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.words.hash(state);
    }
}

impl<T: Id> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(ids: I) -> Self {
        let mut set = Self::new();
        set.extend(ids);
        set
    }
}

impl<T: Id> Extend<T> for Set<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, ids: I) {
        for id in ids {
            self.insert(id);
        }
    }
}

impl<T: Id> fmt::Debug for Set<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Id::place)).finish()
    }
}

/// Declares numbers that sets can hold.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u32);

        impl $crate::zygotes::set::Id for $name {
            fn at(place: usize) -> Self {
                Self(u32::try_from(place).unwrap_or(u32::MAX))
            }

            fn place(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

pub(crate) use ids;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    ids! {
        /// A number.
        Number
    }

    fn set(members: &BTreeSet<usize>) -> Set<Number> {
        members.iter().map(|&member| Number::at(member)).collect()
    }

    fn members() -> impl Strategy<Value = BTreeSet<usize>> {
        prop::collection::btree_set(0usize..200, 0..40)
    }

    proptest! {
        #[test]
        fn sets_of_bits_are_sets(a in members(), b in members()) {
            let (x, y) = (set(&a), set(&b));
            prop_assert_eq!(x.is_subset(&y), a.is_subset(&b));
            prop_assert_eq!(x == y, a == b);
            prop_assert_eq!(x.len(), a.len());
            prop_assert_eq!(x.is_empty(), a.is_empty());
            prop_assert_eq!(x.intersection(&y), set(&(&a & &b)));
            prop_assert_eq!(x.difference(&y), set(&(&a - &b)));
            let weights = [1.0; 200];
            let common = u32::try_from((&a & &b).len()).unwrap();
            prop_assert!((x.common_weight(&y, &weights) - f64::from(common)).abs() < 1e-9);
            prop_assert!(x.iter().map(Id::place).eq(a.iter().copied()));
            prop_assert!(b.iter().all(|&place| x.contains(Number::at(place)) == a.contains(&place)));
            let mut union = x.clone();
            union.extend_from(&y);
            prop_assert_eq!(union, set(&(&a | &b)));
        }
    }
}

//! Environments by name, as far as they were read.
//!
//! Reading takes a while, and the meaning of a name may change meanwhile. So each change begins a new
//! *generation* once it is made or has failed half-way, and what was read in an earlier generation is
//! not kept.

use std::collections::HashMap;
use std::sync::Arc;

use crate::sync::{Mutex, lock};

/// Most entries before unused ones are dropped. Recent names are likely to be asked for again.
const MOST_KEPT: usize = 256;

/// Entries that were read, by name.
#[derive(Debug)]
pub struct Trees<T>(Mutex<Known<T>>);

#[derive(Debug)]
struct Known<T> {
    generation: u64,
    trees: HashMap<String, Arc<T>>,
}

impl<T> Default for Trees<T> {
    fn default() -> Self {
        Self(Mutex::new(Known { generation: 0, trees: HashMap::new() }))
    }
}

impl<T> Trees<T> {
    /// The entry of a name, if it was read.
    pub fn get(&self, name: &str) -> Option<Arc<T>> {
        lock(&self.0).trees.get(name).cloned()
    }

    /// Looks at the entry of a name, if it was read.
    pub fn look<R>(&self, name: &str, look: impl FnOnce(&T) -> R) -> Option<R> {
        lock(&self.0).trees.get(name).map(|tree| look(tree))
    }

    /// The entry of a name, read if it is not known. Blocks as long as `read` does.
    pub fn read<E>(&self, name: &str, mut read: impl FnMut() -> Result<T, E>) -> Result<Arc<T>, E> {
        loop {
            let generation = {
                let known = lock(&self.0);
                if let Some(tree) = known.trees.get(name) {
                    return Ok(tree.clone());
                }
                known.generation
            };
            let tree = Arc::new(read()?);
            let mut known = lock(&self.0);
            // Otherwise something has changed meanwhile, perhaps this name.
            if known.generation == generation {
                let kept = known.trees.entry(name.to_owned()).or_insert(tree).clone();
                let idle = known.make_room();
                // Dropped after the lock, because dropping an entry may take long.
                drop((known, idle));
                return Ok(kept);
            }
        }
    }

    /// Marks a change of names. The change counts as made, or failed, when this is dropped.
    pub fn changing<'a>(&'a self, names: &'a [String]) -> Changing<'a, T> {
        Changing { trees: self, names }
    }
}

impl<T> Known<T> {
    /// Takes out the unused entries if there are too many.
    fn make_room(&mut self) -> Vec<(String, Arc<T>)> {
        if self.trees.len() <= MOST_KEPT {
            return Vec::new();
        }
        self.trees.extract_if(|_, tree| Arc::strong_count(tree) == 1).collect()
    }
}

/// Change of names that is under way; see [`Trees::changing`].
#[derive(Debug)]
pub struct Changing<'a, T> {
    trees: &'a Trees<T>,
    names: &'a [String],
}

impl<T> Drop for Changing<'_, T> {
    fn drop(&mut self) {
        let mut known = lock(&self.trees.0);
        known.generation += 1;
        let gone: Vec<_> = self.names.iter().map(|name| known.trees.remove(name)).collect();
        // Dropped after the lock, because dropping an entry may take long.
        drop((known, gone));
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    fn names() -> [String; 1] {
        ["e".to_owned()]
    }

    /// Reads the catalog; `meanwhile` happens after the first reading.
    fn read(trees: &Trees<u32>, catalog: &Cell<u32>, meanwhile: impl FnOnce()) -> u32 {
        let mut meanwhile = Some(meanwhile);
        let read = || {
            let found = catalog.get();
            if let Some(meanwhile) = meanwhile.take() {
                meanwhile();
            }
            Ok::<_, Infallible>(found)
        };
        let Ok(tree) = trees.read("e", read);
        *tree
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let (trees, catalog) = (Trees::default(), Cell::new(1));
        // The change is made while the reader is between reading and keeping.
        let change = || {
            let names = names();
            let changing = trees.changing(&names);
            catalog.set(2);
            drop(changing);
            // Another reader has read the new value by then.
            assert_eq!(read(&trees, &catalog, || {}), 2);
        };
        assert_eq!(read(&trees, &catalog, change), 2);
        assert_eq!(trees.get("e").as_deref(), Some(&2));
    }

    #[test]
    fn a_reader_that_keeps_in_the_midst_of_a_change_is_corrected_by_it() {
        let (trees, catalog) = (Trees::default(), Cell::new(1));
        let names = names();
        let changing = trees.changing(&names);
        assert_eq!(read(&trees, &catalog, || {}), 1);
        catalog.set(2);
        // Like a failed publishing: the name was changed all the same.
        drop(changing);
        assert_eq!(trees.get("e"), None);
        assert_eq!(read(&trees, &catalog, || {}), 2);
    }

    #[test]
    fn what_nobody_uses_makes_room_and_what_is_used_stays() {
        let trees = Trees::<usize>::default();
        let read = |number: usize| {
            let Ok(tree) = trees.read(&number.to_string(), || Ok::<_, Infallible>(number));
            tree
        };
        let used: Vec<_> = (0..2 * MOST_KEPT).map(read).collect();
        let is_kept = |number: usize| trees.get(&number.to_string()).is_some();
        assert!((0..2 * MOST_KEPT).all(is_kept));
        drop(used);
        drop(read(2 * MOST_KEPT));
        assert!((0..2 * MOST_KEPT).all(|number| !is_kept(number)) && is_kept(2 * MOST_KEPT));
    }

    #[test]
    fn what_cannot_be_read_is_not_kept() {
        let trees = Trees::<u32>::default();
        assert_eq!(trees.read("e", || Err("gone")).unwrap_err(), "gone");
        assert_eq!(trees.get("e"), None);
    }
}

#[cfg(all(test, feature = "shuttle"))]
mod shuttled {
    use std::convert::Infallible;

    use shuttle::sync::atomic::{AtomicU32, Ordering};
    use shuttle::{check_random, thread};

    use super::*;

    /// In any order of readers and changes, nothing stale is kept after the last change, and a reader
    /// that begins after a change gets the changed value.
    #[test]
    fn nothing_stale_is_kept_after_the_last_change() {
        let run = || {
            let trees = Arc::new(Trees::<u32>::default());
            let catalog = Arc::new(AtomicU32::new(0));
            let read = |trees: &Trees<u32>, catalog: &AtomicU32| {
                let Ok(tree) =
                    trees.read("e", || Ok::<_, Infallible>(catalog.load(Ordering::SeqCst)));
                *tree
            };
            let threads: Vec<_> = (0..4)
                .map(|at| {
                    let (trees, catalog) = (trees.clone(), catalog.clone());
                    thread::spawn(move || {
                        if at % 2 == 0 {
                            read(&trees, &catalog);
                            read(&trees, &catalog);
                            return;
                        }
                        let names = ["e".to_owned()];
                        let changing = trees.changing(&names);
                        let mine = 1 + catalog.fetch_add(1, Ordering::SeqCst);
                        drop(changing);
                        assert!(read(&trees, &catalog) >= mine, "stale after its own change");
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(read(&trees, &catalog), 2);
            assert!(trees.get("e").is_none_or(|kept| *kept == 2));
        };
        check_random(run, 10_000);
    }
}

//! Modules: those that each one's import wants, and those of a zygote that a child has taken.

use std::collections::{HashMap, HashSet};

/// Modules by their numbers.
#[derive(Default)]
pub struct Modules {
    numbers: HashMap<Box<str>, usize>,
    /// Marks of each module, small and in one place, because a child writes to them.
    marks: Vec<Marks>,
    /// Modules that the own import of each module has wanted.
    wants: Vec<HashSet<usize>>,
    /// Wanted modules that are untaken in a child, one module's after the other's, and the end of each
    /// module's part. They are in one place, because a child reads them while a request waits.
    sealed: (Vec<usize>, Vec<usize>),
    /// Modules that are being imported, each by the one before it.
    open: Vec<usize>,
    /// For each event, by number, the module during whose import it happened.
    events: Vec<usize>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Marks {
    /// True if the zygote has the module, and this process has not imported it yet.
    is_untaken: bool,
    /// True if another module would be found in its place.
    is_shadowed: bool,
    /// True if an event happened during its import.
    has_events: bool,
}

impl Modules {
    /// Notes that the innermost import wants a module.
    pub fn want(&mut self, name: &str) {
        if let Some(importer) = self.innermost() {
            let wanted = self.number(name);
            self.wants[importer].insert(wanted);
        }
    }

    /// Notes that a module is being imported, until [`Self::close`].
    pub fn open(&mut self, name: &str) {
        self.want(name);
        let number = self.number(name);
        self.open.push(number);
    }

    /// Closes the innermost import.
    pub fn close(&mut self) {
        self.open.pop();
    }

    /// The module of the innermost import.
    pub fn innermost(&self) -> Option<usize> {
        self.open.last().copied()
    }

    /// Adds an event to the innermost import, and returns its number.
    pub fn happen(&mut self) -> Option<usize> {
        let importer = self.innermost()?;
        self.marks[importer].has_events = true;
        self.events.push(importer);
        Some(self.events.len() - 1)
    }

    /// Marks these modules as present in a child but not imported yet.
    pub fn seal<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        self.open.clear();
        self.marks.iter_mut().for_each(|marks| marks.is_untaken = false);
        for name in names {
            let number = self.number(name);
            self.marks[number].is_untaken = true;
        }
        let (mut all, mut ends) = (Vec::new(), Vec::new());
        for wanted in &self.wants {
            all.extend(wanted.iter().filter(|number| self.marks[**number].is_untaken));
            ends.push(all.len());
        }
        self.sealed = (all, ends);
    }

    /// True if a module is there and was not taken.
    pub fn is_untaken(&self, name: &str) -> bool {
        self.numbers.get(name).is_some_and(|number| self.marks[*number].is_untaken)
    }

    /// The number of a known module.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// Modules that are taken already and that the imports of untaken ones may use: those that these want,
    /// directly or through others.
    pub fn used(&self, names: &[String]) -> Vec<usize> {
        let mut open: Vec<_> = names.iter().filter_map(|name| self.find(name)).collect();
        open.retain(|number| self.marks[*number].is_untaken);
        let mut met: HashSet<_> = open.iter().copied().collect();
        let mut used = Vec::new();
        while let Some(number) = open.pop() {
            if !self.marks[number].is_untaken {
                used.push(number);
            }
            open.extend(self.wanted(number).iter().filter(|wanted| met.insert(**wanted)));
        }
        used
    }

    /// Modules that the own import of a module has wanted.
    fn wanted(&self, number: usize) -> &[usize] {
        let (wanted, ends) = &self.sealed;
        let begin = number.checked_sub(1).map_or(0, |before| ends[before]);
        &wanted[begin..ends[number]]
    }

    /// Notes that another module is found in a module's place.
    pub fn shadow(&mut self, name: &str) {
        if let Some(number) = self.numbers.get(name) {
            self.marks[*number].is_shadowed = true;
        }
    }

    /// Takes modules and all that they want. Returns the taken ones that another module shadows, and the
    /// numbers of the taken ones' events.
    pub fn take(&mut self, names: &[String]) -> (Vec<String>, Vec<usize>) {
        let mut open: Vec<_> = names.iter().filter_map(|name| self.find(name)).collect();
        let (mut shadowed, mut eventful) = (HashSet::new(), HashSet::new());
        while let Some(number) = open.pop() {
            let marks = &mut self.marks[number];
            if !std::mem::take(&mut marks.is_untaken) {
                continue;
            }
            if marks.is_shadowed {
                shadowed.insert(number);
            }
            if marks.has_events {
                eventful.insert(number);
            }
            open.extend(self.wanted(number));
        }
        let (mut names, mut events) = (Vec::new(), Vec::new());
        if !shadowed.is_empty() {
            let found = self.numbers.iter().filter(|(_, number)| shadowed.contains(*number));
            names.extend(found.map(|(name, _)| name.to_string()));
        }
        if !eventful.is_empty() {
            let found = self.events.iter().enumerate();
            events.extend(found.filter(|(_, one)| eventful.contains(*one)).map(|(at, _)| at));
        }
        (names, events)
    }

    /// Reads and writes the same memory as taking a module, and changes nothing.
    pub fn rehearse(&mut self) {
        let read: usize = self.sealed.0.iter().chain(&self.sealed.1).sum();
        for marks in &mut self.marks {
            marks.is_shadowed = std::hint::black_box(marks.is_shadowed);
        }
        std::hint::black_box(read);
    }

    fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.marks.len();
        self.numbers.insert(name.into(), number);
        self.marks.push(Marks::default());
        self.wants.push(HashSet::new());
        number
    }
}

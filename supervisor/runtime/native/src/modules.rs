//! Modules: which want which when they are imported, and which of a zygote's a child has taken.

use std::collections::{HashMap, HashSet};

/// Modules by their numbers.
#[derive(Default)]
pub struct Modules {
    numbers: HashMap<Box<str>, usize>,
    /// Small and in one place, because a child changes it.
    marks: Vec<Marks>,
    /// What the own import of each has wanted.
    wants: Vec<HashSet<usize>>,
    /// Of that, what is not everybody's, one module's after the other's, and where each one's ends. In one
    /// place, because a child reads it while somebody waits.
    sealed: (Vec<usize>, Vec<usize>),
    /// Modules that are being imported, each by the one before it.
    open: Vec<usize>,
    /// The modules during whose imports something has happened, by the events' numbers.
    events: Vec<usize>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Marks {
    /// Whether the zygote has it, and this process has not imported it yet.
    is_untaken: bool,
    /// Whether another is found in its place.
    is_shadowed: bool,
    /// Whether something has happened during its import.
    has_events: bool,
}

impl Modules {
    /// Notes that what is being imported wants a module.
    pub fn want(&mut self, name: &str) {
        if let Some(importer) = self.innermost() {
            let wanted = self.number(name);
            self.wants[importer].insert(wanted);
        }
    }

    /// Notes that a module is being imported until it is closed.
    pub fn open(&mut self, name: &str) {
        self.want(name);
        let number = self.number(name);
        self.open.push(number);
    }

    /// Closes the innermost import.
    pub fn close(&mut self) {
        self.open.pop();
    }

    /// The module that is being imported, and imports no other.
    pub fn innermost(&self) -> Option<usize> {
        self.open.last().copied()
    }

    /// Notes an event during the innermost import; its number.
    pub fn happen(&mut self) -> Option<usize> {
        let importer = self.innermost()?;
        self.marks[importer].has_events = true;
        self.events.push(importer);
        Some(self.events.len() - 1)
    }

    /// A child has these modules, and has imported none of them.
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

    /// Whether a module is there and was not taken.
    pub fn is_untaken(&self, name: &str) -> bool {
        self.numbers.get(name).is_some_and(|number| self.marks[*number].is_untaken)
    }

    /// The number of a module that there is.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// Modules that were taken already and that the imports of others, which were not, may use: what these
    /// want, and what that wants.
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

    /// The modules that the own import of a module has wanted.
    fn wanted(&self, number: usize) -> &[usize] {
        let (wanted, ends) = &self.sealed;
        let begin = number.checked_sub(1).map_or(0, |before| ends[before]);
        &wanted[begin..ends[number]]
    }

    /// Notes that another is found in a module's place.
    pub fn shadow(&mut self, name: &str) {
        if let Some(number) = self.numbers.get(name) {
            self.marks[*number].is_shadowed = true;
        }
    }

    /// Takes modules and what they want; those of them that another is found in the place of, and events.
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

    /// Reads and writes what taking a module would, and changes nothing.
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

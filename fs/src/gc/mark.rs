//! Marking: what is reached from the roots.

use std::collections::{BTreeSet, HashSet};

use crate::catalog::Snapshot;
use crate::id::ObjectId;
use crate::view::inode::Inode;
use crate::view::publish::own_view;

/// Roots of a marking, besides all environments, pins and leases of the catalog.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// Environments that keep nothing: they were made for functions that are gone.
    pub abandoned: BTreeSet<String>,
    /// Inodes of the mount that are mounted elsewhere or mapped by processes.
    pub inodes: BTreeSet<u64>,
    /// Digests of views that sandboxes have.
    pub views: BTreeSet<String>,
    /// Artifacts, and the interpreters that they are for, which an environment that is being added
    /// counts on.
    pub artifacts: BTreeSet<(String, String)>,
}

/// Things that are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// Names of environments.
    pub environments: BTreeSet<String>,
    /// Digests of views.
    pub views: BTreeSet<String>,
    /// Numbers of distributions.
    pub distributions: BTreeSet<i64>,
}

impl Reached {
    /// Objects of what is reached.
    pub fn objects(&self, snapshot: &Snapshot) -> HashSet<ObjectId> {
        let distributions =
            self.distributions.iter().filter_map(|id| snapshot.distributions.get(id));
        distributions.flat_map(|distribution| distribution.objects.iter().copied()).collect()
    }
}

/// Marks what is reached. A view reaches its distributions, and a distribution its own view.
pub fn mark(snapshot: &Snapshot, roots: &Roots) -> Reached {
    let mut marking = Marking { snapshot, reached: Reached::default() };
    for (name, environment) in &snapshot.environments {
        if !roots.abandoned.contains(name) {
            marking.reached.environments.insert(name.clone());
            marking.view(&environment.view);
            environment.members.iter().for_each(|id| marking.distribution(*id));
        }
    }
    let kept = snapshot.pins.iter().chain(&snapshot.leases).map(|(_, view)| view);
    kept.chain(&roots.views).for_each(|view| marking.view(view));
    for (id, distribution) in &snapshot.distributions {
        let artifact = (distribution.artifact.clone(), distribution.interpreter.clone());
        if roots.artifacts.contains(&artifact) {
            marking.distribution(*id);
        }
    }
    marking.inodes(&roots.inodes);
    marking.reached
}

struct Marking<'a> {
    snapshot: &'a Snapshot,
    reached: Reached,
}

impl Marking<'_> {
    fn view(&mut self, digest: &str) {
        let Some(view) = self.snapshot.views.get(digest) else { return };
        if self.reached.views.insert(digest.to_owned()) {
            view.parts.iter().for_each(|id| self.distribution(*id));
        }
    }

    fn distribution(&mut self, id: i64) {
        let Some(distribution) = self.snapshot.distributions.get(&id) else { return };
        if self.reached.distributions.insert(id) {
            self.view(&own_view(&distribution.digest));
        }
    }

    /// A folder is its view's. A file could be that of any view which has its object: where none of
    /// those is reached yet, all are.
    fn inodes(&mut self, inodes: &BTreeSet<u64>) {
        let snapshot = self.snapshot;
        let mut objects = HashSet::new();
        for inode in inodes.iter().filter_map(|inode| Inode::decode(*inode)) {
            match inode {
                Inode::Object { id, .. } => {
                    objects.insert(id);
                }
                Inode::Node { number, .. } => {
                    let views = snapshot.views.iter().filter(|(_, view)| {
                        (view.first_node..view.first_node + view.nodes).contains(&number)
                    });
                    views.for_each(|(digest, _)| self.view(digest));
                }
                Inode::Root
                | Inode::Envs
                | Inode::Dists
                | Inode::Empty
                | Inode::Views
                | Inode::Shown
                | Inode::Name { .. }
                | Inode::EmptyFile { .. } => {}
            }
        }
        let reached = self.reached.objects(snapshot);
        objects.retain(|object| !reached.contains(object));
        for (digest, view) in &snapshot.views {
            let parts = view.parts.iter().filter_map(|id| snapshot.distributions.get(id));
            let mut all = parts.flat_map(|distribution| &distribution.objects);
            if !objects.is_empty() && all.any(|object| objects.contains(object)) {
                self.view(digest);
            }
        }
    }
}

//! Names that the mount shows, and views of its inodes: environments by their names, and views
//! that are retained or subsets, by their digests.

use std::collections::BTreeSet;

use super::{Repository, RepositoryError};
use crate::sync::MutexGuard;
use crate::view::inode::Inode;
use crate::view::publish::ViewError;
use crate::view::published::{Published, view_name};

impl Repository {
    /// Shows these views although no environment's name may stand for them any more, each as
    /// [`retained_name`], and keeps them from being collected, until it is called again.
    pub fn retain(&self, views: BTreeSet<String>) -> Result<(), RepositoryError> {
        *self.retained.lock() = views;
        Ok(self.show()?)
    }

    /// Views that are shown although no name may stand for them.
    pub(crate) fn retained(&self) -> BTreeSet<String> {
        self.retained.lock().clone()
    }

    /// Inode number in the mount of the root of a view, as the folder of views has it, and its name
    /// there.
    pub fn root(&self, view: &str) -> Result<(u64, String), RepositoryError> {
        let stored = self.catalog.view(view)?;
        let stored = stored.ok_or_else(|| RepositoryError::Unknown(view.to_owned()))?;
        let (number, is_named) = (stored.first_node, false);
        Ok((Inode::Node { number, is_named }.encode(), view_name(view, number)))
    }

    /// The view, of an environment or a distribution, that a folder or link of the mount is in, by
    /// its inode number; `None` for what is in none or in several, such as files.
    pub fn view_of(&self, inode: u64) -> Result<Option<String>, RepositoryError> {
        match Inode::decode(inode) {
            Some(Inode::Node { number, .. }) => Ok(self.catalog.view_with_node(number)?),
            _ => Ok(None),
        }
    }

    /// Shows a subset, until it is hidden.
    pub(super) fn show_subset(&self, view: &str) -> Result<(), ViewError> {
        self.subsets().insert(view.to_owned());
        self.show()
    }

    /// Hides subsets when the mount is next told what to show; whether there were any of these.
    pub(crate) fn hide_subsets(&self, views: &BTreeSet<String>) -> bool {
        let mut subsets = self.subsets();
        let before = subsets.len();
        subsets.retain(|view| !views.contains(view));
        subsets.len() < before
    }

    fn subsets(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.subsets.lock()
    }

    /// The names that the mount is to show.
    pub(crate) fn published(&self) -> Result<Published, ViewError> {
        let mut published = self.views().published()?;
        let named: BTreeSet<String> = published.envs.values().cloned().collect();
        let mut kept = self.retained();
        kept.extend(self.subsets().iter().cloned());
        for view in kept.difference(&named) {
            // One that was collected before it was asked for cannot be shown.
            if self.catalog.view(view)?.is_some() {
                published.envs.insert(retained_name(view), view.clone());
            }
        }
        Ok(published)
    }

    /// Lets the mount know which names there are.
    pub(crate) fn show(&self) -> Result<(), ViewError> {
        let failed = |source| ViewError::File { path: self.views.clone(), source };
        let mut published = self.published()?;
        // Where that is damaged, it is replaced.
        published.note_changes(Published::read(&self.views).unwrap_or_default());
        published.write(&self.views).map_err(failed)
    }
}

/// Name among the environments of a view that none of them stands for: no environment's name
/// begins with a dot.
pub fn retained_name(view: &str) -> String {
    format!(".{view}")
}

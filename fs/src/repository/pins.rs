//! Protection from collection: for users, for those who outlive this process, for what runs
//! and for what is being added.

use super::hold::Hold;
use super::{Repository, RepositoryError};
use crate::ingest::resolve::lock::Locked;
use crate::interpreter::Interpreter;

/// Keeps a view, until it is dropped, from being collected.
#[derive(Debug)]
pub struct Lease(#[expect(dead_code, reason = "held for its drop")] Hold<String>);

impl Repository {
    /// Keeps a view as long as something runs in it.
    pub fn lease(&self, view: &str) -> Lease {
        Lease(self.held_views.hold(view.to_owned()))
    }

    /// Keeps the distributions of a lock, those that are stored and those that will be, from being
    /// collected.
    pub(crate) fn hold_artifacts(
        &self,
        locked: &[Locked],
        interpreter: &Interpreter,
    ) -> Vec<Hold<(String, String)>> {
        // Not while a collection is at work that does not know of it: what is found after this is
        // there until it is published.
        let _turn = self.turn();
        let identity = interpreter.identity();
        locked
            .iter()
            .map(|one| self.held_artifacts.hold((one.artifact(), identity.clone())))
            .collect()
    }

    /// Pins what a name stands for: an environment, or a distribution as the mount calls it.
    pub fn pin(&self, name: &str) -> Result<(), RepositoryError> {
        let _turn = self.turn();
        let view = match self.catalog.view_of(name)? {
            Some(view) => Some(view),
            None => self.views().published()?.dists.get(name).cloned(),
        };
        let view = view.ok_or_else(|| RepositoryError::Unknown(name.to_owned()))?;
        Ok(self.catalog.pin(name, &view)?)
    }

    /// Removes a pin; whether there was one.
    pub fn unpin(&self, name: &str) -> Result<bool, RepositoryError> {
        Ok(self.catalog.unpin(name)?)
    }

    /// Leases what an environment is now to somebody who may outlive this process; until
    /// [`Self::end_lease`], it is not collected. The digest of its view.
    pub fn lease_to(&self, holder: &str, environment: &str) -> Result<String, RepositoryError> {
        let _turn = self.turn();
        let view = self.catalog.view_of(environment)?;
        let view = view.ok_or_else(|| RepositoryError::Unknown(environment.to_owned()))?;
        self.catalog.lease(holder, &view)?;
        Ok(view)
    }

    /// Ends a lease; whether there was one.
    pub fn end_lease(&self, holder: &str) -> Result<bool, RepositoryError> {
        Ok(self.catalog.end_lease(holder)?)
    }

    /// Holders of leases and the views that they hold.
    pub fn leases(&self) -> Result<Vec<(String, String)>, RepositoryError> {
        Ok(self.catalog.leases()?)
    }
}

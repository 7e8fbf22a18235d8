//! Texts of the supervisor, kept beside what is stored.

use super::{Repository, RepositoryError};

impl Repository {
    /// Keeps a text for the next run; an earlier one of that name is replaced. Blocks.
    pub fn remember(&self, name: &str, text: &str) -> Result<(), RepositoryError> {
        Ok(self.catalog.remember(name, text)?)
    }

    /// The text of a name, if there is one. Blocks.
    pub fn recall(&self, name: &str) -> Result<Option<String>, RepositoryError> {
        Ok(self.catalog.recall(name)?)
    }
}

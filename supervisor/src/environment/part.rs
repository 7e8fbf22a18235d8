//! Parts of environments, and the modules that can be imported from one. Zygotes are made of these.

use std::collections::BTreeSet;
use std::sync::Arc;

use pipsqueak_fs::{Imports, Repository, RepositoryError, retained_name};

use super::error::EnvironmentsError;
use super::shared::blocking;
use super::table::Environments;
use super::tree::Tree;

impl Environments {
    /// An environment of some distributions of `tree`, named by digest. The caller must include the
    /// distributions that these need.
    pub async fn part(
        &self,
        tree: &Arc<Tree>,
        distributions: BTreeSet<String>,
    ) -> Result<Arc<Tree>, EnvironmentsError> {
        let is_all = distributions.iter().eq(tree.distributions.keys());
        let Some(whole) = tree.view_digest().filter(|_| !is_all) else {
            return Ok(tree.clone());
        };
        let (shared, tree, whole) = (self.shared.clone(), tree.clone(), whole.to_owned());
        blocking("part", move || {
            let subset = shared.repository.subset(&whole, &|one| distributions.contains(one))?;
            let name = retained_name(&subset.view);
            let io = |error| EnvironmentsError::Io { name: name.clone(), error };
            shared.publish(std::slice::from_ref(&name)).map_err(io)?;
            let view = shared.view(&subset.view)?;
            Ok(Arc::new(tree.part(&distributions, subset, view)))
        })
        .await
    }

    /// All environments of the default interpreter that sandboxes can see; none if the ssd tier is off.
    pub async fn trees(&self) -> Result<Vec<Arc<Tree>>, EnvironmentsError> {
        let mut trees = Vec::new();
        if self.shared.private.is_some() {
            return Ok(trees);
        }
        for environment in self.list().await? {
            if environment.interpreter == self.shared.python {
                trees.push(self.open(environment.name).await?);
            }
        }
        Ok(trees)
    }

    /// Asks the repository in a thread that may block.
    pub async fn in_repository<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Repository) -> Result<T, RepositoryError> + Send + 'static,
    ) -> Result<T, EnvironmentsError> {
        let shared = self.shared.clone();
        blocking("catalog", move || Ok(ask(&shared.repository)?)).await
    }

    /// Modules that can be imported from an environment; none for a private one, of which nothing is known.
    pub async fn imports(&self, tree: &Tree) -> Result<Arc<Imports>, EnvironmentsError> {
        let Some(view) = tree.view_digest() else { return Ok(Arc::default()) };
        let read = async || {
            let (shared, view) = (self.shared.clone(), view.to_owned());
            blocking("imports", move || Ok(Arc::new(shared.repository.imports(&view)?))).await
        };
        tree.imports.get_or_try_init(read).await.cloned()
    }
}

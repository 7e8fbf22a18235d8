//! Trees of zygotes that a user gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipsqueak_policy::zygotes::given::{self, Found, GivenError, Package};

use super::kind::Kind;
use super::pool::{Inner, Pool};
use crate::environment::{EnvironmentsError, Tree};

/// The reason why given trees were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    /// The file has an error.
    #[error(transparent)]
    Given(#[from] GivenError),
    /// The environments could not be read.
    #[error(transparent)]
    Environments(#[from] EnvironmentsError),
    /// No single environment has all packages of a zygote.
    #[error("no single environment has all of {0}; add one that does")]
    Apart(String),
}

impl Pool {
    /// Starts given trees in the background, and returns the number of their zygotes. They are made of the
    /// packages of `trees`, environments of one interpreter. They end under memory pressure alone, and
    /// last.
    pub async fn give(&self, text: &str, trees: Vec<Arc<Tree>>) -> Result<usize, GiveError> {
        let roots = given::parse(text)?;
        for tree in &trees {
            self.environments.imports(tree).await?;
        }
        let inner = &mut *self.lock();
        let Some(first) = trees.first() else {
            return Err(GiveError::Apart("the packages".to_owned()));
        };
        let realm = inner.realm(first, Kind { own_network: true, ..Kind::default() });
        let found = inner.packages(&trees);
        inner.sources = trees;
        let find = |package: &Package| {
            let versions = found.get(&package.name)?;
            match &package.version {
                Some(version) => versions.get(version).cloned(),
                None => versions.values().next_back().cloned(),
            }
        };
        let mut starts = Vec::new();
        for root in &roots {
            let policy = &mut inner.policy;
            let mut made = given::starts(root, realm, &mut policy.names, &policy.costs, find)?;
            // Each tree counts its starts from 0.
            for start in &mut made {
                start.parent = start.parent.after(starts.len());
            }
            starts.extend(made);
        }
        if let Some(start) = starts.iter().find(|start| inner.source(start).is_none()) {
            let named: Vec<_> = start.distributions.iter().map(|one| inner.describe(one)).collect();
            return Err(GiveError::Apart(named.join(", ")));
        }
        let count = starts.len();
        inner.given.extend(starts);
        // Announce, as for a start: the zygotes are pending until a plan is carried out.
        self.news.announce();
        self.news.learn();
        Ok(count)
    }
}

impl Inner {
    /// The distributions of environments, by name and version.
    fn packages(&mut self, trees: &[Arc<Tree>]) -> BTreeMap<String, BTreeMap<String, Found>> {
        let mut packages: BTreeMap<String, BTreeMap<String, Found>> = BTreeMap::new();
        for tree in trees {
            let environment = self.environment(tree);
            for (digest, one) in &tree.distributions {
                let distribution = self.policy.names.distribution(digest);
                let closed = environment.close(&[distribution].into_iter().collect());
                let found = Found {
                    distribution,
                    requires: closed.iter().filter(|&other| other != distribution).collect(),
                    modules: one.modules.clone(),
                };
                packages.entry(one.name.clone()).or_default().insert(one.version.clone(), found);
            }
        }
        packages
    }
}

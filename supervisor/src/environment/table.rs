//! All environments, and the one that a function runs in.

use std::path::PathBuf;
use std::sync::Arc;

use pipsqueak::wire::{DistributionInfo, EnvironmentInfo, Progress};
use pipsqueak_fs::{Environment, Owner, Repository, Requirements, check_requirements};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;

use super::audience::Audience;
use super::error::EnvironmentsError;
use super::interpreter::{check_present, inspect};
use super::making::Wanted;
use super::requirements::{name_of, requirements_of};
use super::shared::{Shared, blocking};
use super::tree::Tree;
use super::trees::Trees;
use crate::deployment::Function;
use crate::mount::{Keeper, Views};
use crate::sandbox::Sandboxes;
use crate::sync::Mutex;
use crate::turns::Turns;

/// The environments.
#[derive(Debug)]
pub struct Environments {
    pub(super) shared: Arc<Shared>,
    making: Turns,
}

impl Environments {
    /// Environments of `repository`. `python` is the interpreter of environments that name none.
    ///
    /// `keeper` and `views` belong to the mount that shows them. `private` is the folder for private
    /// installs; if it is given, the ssd tier is off.
    pub fn new(
        repository: Repository,
        (keeper, views): (Arc<Keeper>, Views),
        sandboxes: Arc<Sandboxes>,
        python: PathBuf,
        private: Option<PathBuf>,
        runtime: Handle,
    ) -> Self {
        let shared = Shared {
            repository,
            trees: Trees::default(),
            owed: Mutex::default(),
            keeper,
            views,
            sandboxes,
            python,
            private,
            runtime,
            caring: Mutex::default(),
            scrubbing: Mutex::default(),
        };
        Self { shared: Arc::new(shared), making: Turns::default() }
    }

    /// Makes an environment, or replaces the one of the same name.
    pub async fn add(
        &self,
        name: String,
        wanted: Wanted,
        progress: &UnboundedSender<Progress>,
    ) -> Result<EnvironmentInfo, EnvironmentsError> {
        let (environment, _) = self.add_locked(name, wanted, Audience::of(progress)).await?;
        Ok(self.info(environment))
    }

    async fn add_locked(
        &self,
        name: String,
        wanted: Wanted,
        audience: Arc<Audience>,
    ) -> Result<(Environment, Arc<Tree>), EnvironmentsError> {
        let _turn = self.making.take(&name).await;
        let (shared, named) = (self.shared.clone(), name.clone());
        let environment = blocking(&name, move || shared.add(&named, wanted, &audience)).await?;
        let tree = self.open(name).await?;
        Ok((environment, tree))
    }

    /// Refuses an environment that no function can run in.
    pub async fn check_runs(&self, name: String) -> Result<(), EnvironmentsError> {
        match self.stored(&name).await? {
            Some(environment) => check_present(name, &environment.interpreter),
            None => Err(EnvironmentsError::Unknown(name)),
        }
    }

    /// Refuses requirements that can never be resolved, such as those for another Python than the default.
    pub async fn check(&self, requirements: Requirements) -> Result<(), EnvironmentsError> {
        let shared = self.shared.clone();
        blocking("check", move || Ok(check_requirements(&requirements, &inspect(&shared.python)?)?))
            .await
    }

    /// All environments that were given a name, by name.
    pub async fn list(&self) -> Result<Vec<EnvironmentInfo>, EnvironmentsError> {
        let shared = self.shared.clone();
        let all = blocking("list", move || Ok(shared.repository.environments()?)).await?;
        Ok(all.into_iter().map(|environment| self.info(environment)).collect())
    }

    /// One environment.
    pub async fn show(&self, name: String) -> Result<EnvironmentInfo, EnvironmentsError> {
        Ok(self.info(self.stored(&name).await?.ok_or(EnvironmentsError::Unknown(name))?))
    }

    /// Removes an environment's name. Sandboxes that run in the environment go on.
    pub async fn remove(&self, name: String) -> Result<(), EnvironmentsError> {
        let (shared, wanted) = (self.shared.clone(), name.clone());
        let removed = blocking(&name, move || {
            let _changing = shared.trees.changing(std::slice::from_ref(&wanted));
            let Some(environment) = shared.repository.environment(&wanted)? else {
                return Ok(false);
            };
            shared.repository.remove(&wanted)?;
            let io = |error| EnvironmentsError::Io { name: wanted.clone(), error };
            shared.publish(&environment.mount_names()).map_err(io)?;
            Ok(true)
        });
        if removed.await? { Ok(()) } else { Err(EnvironmentsError::Unknown(name)) }
    }

    /// The environment of a function, if it was read since it was made.
    pub fn known(&self, function: &Function) -> Result<Option<Arc<Tree>>, EnvironmentsError> {
        if self.shared.private.is_some() {
            return Ok(None);
        }
        let name = name_of(function);
        let is_named = function.info.environment.is_some();
        let tree = self.shared.trees.get(name);
        // The name may belong to a user's environment, which is not the function's.
        let fits = |tree: &Arc<Tree>| is_named || tree.owner == Owner::Functions;
        let Some(tree) = tree.filter(fits) else { return Ok(None) };
        check_present(name.to_owned(), &tree.interpreter)?;
        Ok(Some(tree))
    }

    /// True if nothing is to be found or made for a function before it has a place.
    pub fn is_at_hand(&self, function: &Function) -> bool {
        // Without the ssd tier there may be a paused sandbox, which needs nothing.
        self.shared.private.is_some() || self.shared.trees.look(name_of(function), |_| ()).is_some()
    }

    /// Name under which [`Self::make`] makes one environment for all functions with the same
    /// requirements; `None` if each start makes its own.
    pub fn shared_name<'a>(&self, function: &'a Function) -> Option<&'a str> {
        self.shared.private.is_none().then(|| name_of(function))
    }

    /// The environment of a function, if it is installed.
    pub async fn find(&self, function: &Function) -> Result<Option<Arc<Tree>>, EnvironmentsError> {
        if self.shared.private.is_some() {
            return Ok(None);
        }
        if let Some(tree) = self.known(function)? {
            return Ok(Some(tree));
        }
        let name = name_of(function).to_owned();
        let is_named = function.info.environment.is_some();
        match self.stored(&name).await? {
            // The name belongs to a user's environment; making the function's own fails and says so.
            Some(environment) if !is_named && environment.owner == Owner::User => Ok(None),
            Some(environment) => {
                check_present(name.clone(), &environment.interpreter)?;
                Ok(Some(self.open(name).await?))
            }
            None if is_named => Err(EnvironmentsError::Unknown(name)),
            None => Ok(None),
        }
    }

    /// Makes the environment of a function that has none yet.
    pub async fn make(
        &self,
        function: &Function,
        audience: Arc<Audience>,
    ) -> Result<Arc<Tree>, EnvironmentsError> {
        let name = name_of(function).to_owned();
        if self.shared.private.is_some() {
            return self.make_private(function, name, audience).await;
        }
        let requirements = requirements_of(function);
        let owner = Owner::Functions;
        let wanted =
            Wanted { owner, requirements, python: None, python_version: None, upgrade: false };
        let (_, tree) = self.add_locked(name, wanted, audience).await?;
        Ok(tree)
    }

    /// Key that the function's tree has, if it is known without making the tree.
    pub fn known_key(&self, function: &Function) -> Option<String> {
        let name = name_of(function);
        match self.shared.private {
            Some(_) => Some(name.to_owned()),
            None => self.shared.trees.look(name, |tree| tree.key.clone()),
        }
    }

    async fn make_private(
        &self,
        function: &Function,
        name: String,
        audience: Arc<Audience>,
    ) -> Result<Arc<Tree>, EnvironmentsError> {
        let requirements = match &function.info.environment {
            Some(environment) => {
                let stored = self.stored(environment).await?;
                stored.ok_or_else(|| EnvironmentsError::Unknown(name.clone()))?.requirements
            }
            None => requirements_of(function),
        };
        let (shared, wanted) = (self.shared.clone(), name.clone());
        blocking(&name, move || shared.install_private(wanted, requirements, &audience)).await
    }

    async fn stored(&self, name: &str) -> Result<Option<Environment>, EnvironmentsError> {
        let (shared, wanted) = (self.shared.clone(), name.to_owned());
        blocking(name, move || Ok(shared.repository.environment(&wanted)?)).await
    }

    pub(super) async fn open(&self, name: String) -> Result<Arc<Tree>, EnvironmentsError> {
        let (shared, wanted) = (self.shared.clone(), name.clone());
        blocking(&name, move || {
            shared.trees.read(&wanted, || {
                let (environment, view, lease) = shared.current(&wanted)?;
                Ok(Tree::view(environment, view, lease))
            })
        })
        .await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shared.place(name)
    }

    fn info(&self, environment: Environment) -> EnvironmentInfo {
        EnvironmentInfo {
            path: self.path(&environment.name),
            name: environment.name,
            digest: environment.digest,
            view: environment.view,
            python: environment.interpreter.version,
            interpreter: environment.interpreter.executable,
            bytecode: environment.interpreter.is_present,
            distributions: environment
                .distributions
                .into_iter()
                .map(|distribution| DistributionInfo {
                    name: distribution.name,
                    version: distribution.version,
                    digest: distribution.digest,
                })
                .collect(),
            files: environment.files,
            bytes: environment.bytes,
        }
    }
}

//! Changes and questions of clients besides invocations: deployments, environments, what is kept, and why.

mod status;

use std::sync::Arc;

use pipsqueak::wire::{
    Deploy, EnvironmentInfo, Evict, Explanation, Fault, FaultKind, FunctionInfo, Progress,
};
use tokio::sync::mpsc::UnboundedSender;

use super::invocations::Invocations;
use super::resources::Resources;
use crate::environment::{self, Wanted};
use crate::fault::internal;
use crate::turns::Turns;
use crate::upgrade::{self, UpgradeError};

/// Administration of a supervisor.
#[derive(Debug)]
pub struct Administration {
    resources: Resources,
    invocations: Arc<Invocations>,
    /// Turns of deployments and removals, by function. All that a removed function has left, such as
    /// its events, is gone before another of the same name is deployed.
    changes: Turns,
}

impl Administration {
    /// Administration of `resources` and `invocations`.
    pub fn new(resources: &Resources, invocations: &Arc<Invocations>) -> Self {
        let (resources, invocations) = (resources.clone(), invocations.clone());
        Self { resources, invocations, changes: Turns::default() }
    }

    /// Makes an environment, or replaces the one of the same name.
    pub async fn add_environment(
        &self,
        name: String,
        wanted: Wanted,
        progress: &UnboundedSender<Progress>,
    ) -> Result<EnvironmentInfo, Fault> {
        let added = self.resources.environments.add(name, wanted, progress).await?;
        self.resources.containers.follow().await;
        Ok(added)
    }

    /// Removes an environment that no function names.
    pub async fn remove_environment(&self, name: String) -> Result<(), Fault> {
        let functions = self.resources.functions.list().into_iter();
        let users = functions.filter(|one| one.info.environment.as_ref() == Some(&name));
        let users: Vec<_> = users.map(|one| one.info.name.clone()).collect();
        if let [first, ..] = users.as_slice() {
            let message = format!(
                "environment {name} is used by {}; remove each first, or deploy it with another: \
                 pipsqueak functions rm {first}",
                users.join(", "),
            );
            return Err(Fault { kind: FaultKind::BadInput, message });
        }
        self.resources.environments.remove(name).await?;
        self.resources.containers.follow().await;
        Ok(())
    }

    /// Deploys a function, and drops the paused sandboxes of its earlier version. Refuses an
    /// environment that no function can run in.
    pub async fn deploy(&self, deploy: Deploy) -> Result<FunctionInfo, Fault> {
        let environments = &self.resources.environments;
        if let Some(environment) = &deploy.environment {
            environments.check_runs(environment.clone()).await?;
        }
        if let Some(requirements) = &deploy.requirements {
            let requirements = environment::requirements(requirements.clone());
            environments.check(requirements).await?;
        }
        let _turn = self.changes.take(&deploy.name).await;
        let functions = self.resources.functions.clone();
        let deployed = tokio::task::spawn_blocking(move || functions.deploy(deploy));
        let function = deployed.await.map_err(internal)??;
        self.invocations.paused.evict(Some(&function.info.name));
        self.resources.events.reschedule();
        Ok(function.shown())
    }

    /// Removes a function, its paused sandboxes, its events and its logs.
    pub async fn remove_function(&self, name: &str) -> Result<(), Fault> {
        let _turn = self.changes.take(name).await;
        let (functions, owned) = (self.resources.functions.clone(), name.to_owned());
        let removed = tokio::task::spawn_blocking(move || functions.remove(&owned));
        removed.await.map_err(internal)??;
        self.invocations.forget(name);
        self.resources.events.reschedule();
        self.resources.events.forget(name.to_owned()).await?;
        self.resources.journal.remove(name).await.map_err(internal)
    }

    /// Drops what tiers keep. Returns a sentence that tells what was dropped.
    pub fn evict(&self, evict: &Evict) -> Result<String, Fault> {
        let both = !evict.paused && !evict.zygotes;
        let function = match &evict.function {
            Some(name) => Some(self.resources.functions.get(name)?),
            None => None,
        };
        let mut paused = 0;
        if evict.paused || both {
            paused =
                self.invocations.paused.evict(function.as_ref().map(|one| one.info.name.as_str()));
        }
        let mut zygotes = 0;
        if evict.zygotes || both {
            zygotes =
                self.invocations.zygotes.evict(function.as_ref().map(|one| one.info.name.as_str()));
        }
        Ok(format!("evicted {paused} paused sandboxes and {zygotes} zygotes"))
    }

    /// Checks that the program which is installed now can take this one's place.
    pub async fn check_successor(&self) -> Result<(), Fault> {
        let refused =
            |error: UpgradeError| Fault { kind: FaultKind::BadInput, message: error.to_string() };
        if self.resources.keeper.can_leave() {
            return Err(refused(UpgradeError::Service));
        }
        let program = upgrade::program().map_err(internal)?;
        let checked = tokio::task::spawn_blocking(move || upgrade::check(&program));
        checked.await.map_err(internal)?.map_err(refused)
    }

    /// The zygote that serves a function in its current environment, and the reasons.
    pub async fn explain(&self, name: &str) -> Result<Explanation, Fault> {
        let function = self.resources.functions.get(name)?;
        let Some(tree) = self.resources.environments.find(&function).await? else {
            let message = format!(
                "function {name} has no environment yet: its first invocation makes it, or with the \
                 ssd tier off each"
            );
            return Err(Fault { kind: FaultKind::BadInput, message });
        };
        self.resources.environments.imports(&tree).await?;
        let mut explanation = self.invocations.zygotes.explain(&function, &tree);
        explanation.standbys = self.invocations.zygotes.standbys_for(&function, &tree) as u64;
        let unlike = function.trust.reason().map(|reason| {
            format!(
                "it loads in an interpreter of its own, and did not in a zygote's child: {reason}"
            )
        });
        let own_file = function.variables.of_own_files().map(|name| {
            format!("variable {name} may name files of the function, which no zygote has")
        });
        if let Some(reason) = unlike.or(own_file) {
            explanation.zygotes.iter_mut().for_each(|one| one.serves = false);
            explanation.unlike = Some(reason);
        }
        Ok(explanation)
    }

    /// Starts given trees of zygotes, with the packages of all environments of the default interpreter.
    /// Returns the number of zygotes.
    pub async fn give_zygotes(&self, trees: &str) -> Result<usize, Fault> {
        if !self.resources.settings.tiers.zygote {
            let message = "the zygote tier is off".to_owned();
            return Err(Fault { kind: FaultKind::BadInput, message });
        }
        let environments = self.resources.environments.trees().await?;
        Ok(self.invocations.zygotes.give(trees, environments).await?)
    }
}

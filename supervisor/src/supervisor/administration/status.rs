//! The supervisor's status.

use pipsqueak::wire::{Fault, SandboxInfo, SandboxState, Status, Tier, ZygoteInfo};

use super::Administration;
use crate::fault::internal;
use crate::instance::Instance;
use crate::sync::lock;
use crate::zygote;

impl Administration {
    /// The status: what the supervisor keeps and does.
    pub async fn status(&self) -> Result<Status, Fault> {
        let tiers = &self.resources.settings.tiers;
        let used =
            [(tiers.paused, Tier::Paused), (tiers.zygote, Tier::Zygote), (tiers.ssd, Tier::Ssd)];
        let environments = self.resources.environments.list().await?;
        let keeper = self.resources.keeper.clone();
        let mount = tokio::task::spawn_blocking(move || keeper.status()).await.map_err(internal)?;
        let damaged = self.resources.environments.damaged().await?;
        let containers = self.resources.containers.status().await?;
        let journal = self.resources.journal.clone();
        let log_bytes =
            tokio::task::spawn_blocking(move || journal.bytes()).await.map_err(internal)?;
        let events = self.resources.events.counts().await?;
        let mut sandboxes: Vec<_> = lock(&self.invocations.running)
            .values()
            .map(|(one, _)| info(one, SandboxState::Running))
            .collect();
        self.invocations.paused.each(|paused, memory| {
            let told = info(paused.instance(), SandboxState::Paused);
            sandboxes.push(SandboxInfo { memory, ..told });
        });
        Ok(Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: self.resources.settings.state.clone(),
            group: self.resources.sandboxes.group().to_owned(),
            tiers: used.into_iter().filter_map(|(on, tier)| on.then_some(tier)).collect(),
            memory_budget: self.invocations.allowance.now(),
            memory_used: self.invocations.kept_bytes(),
            mount,
            containers,
            environments: environments.into_iter().map(|environment| environment.name).collect(),
            functions: self.resources.functions.list().len() as u64,
            growing: self.invocations.zygotes.is_growing(),
            zygotes: self.invocations.zygotes.slots().into_iter().map(zygote_info).collect(),
            standbys: self.invocations.zygotes.standbys() as u64,
            sandboxes,
            changing: self.resources.sandboxes.changing(),
            waiting: self.invocations.waiting(),
            starts: lock(&self.invocations.starts)
                .iter()
                .map(|(tier, count)| (name_of(*tier), *count))
                .collect(),
            damaged,
            events,
            log_bytes,
        })
    }
}

/// An instance, as the status tells it.
fn info(instance: &Instance, state: SandboxState) -> SandboxInfo {
    SandboxInfo {
        id: instance.sandbox().id(),
        function: instance.function().info.name.clone(),
        pid: instance.host_pid().unwrap_or(0),
        state,
        invocations: instance.invocations(),
        memory: 0,
    }
}

fn zygote_info(slot: zygote::Slot) -> ZygoteInfo {
    let mut info = ZygoteInfo {
        id: slot.id,
        parent: slot.parent,
        pid: None,
        environment: slot.tree.key.clone(),
        state: String::new(),
        modules: Vec::new(),
        reason: None,
        forks: 0,
        spares: 0,
        memory: 0,
    };
    match slot.state {
        zygote::State::Starting => "starting".clone_into(&mut info.state),
        zygote::State::Failed(reason) => {
            "failed".clone_into(&mut info.state);
            info.reason = Some(reason);
        }
        zygote::State::Ready(zygote) => {
            "ready".clone_into(&mut info.state);
            info.pid = Some(zygote.pid().cast_unsigned());
            info.modules = zygote.modules().to_vec();
            let left_out = zygote::by_reason(&slot.left_out).into_iter();
            let left_out = left_out.map(|(modules, why)| format!("{modules} left out: {why}"));
            let left_out: Vec<_> = left_out.collect();
            info.reason = (!left_out.is_empty()).then(|| left_out.join("; "));
            info.forks = zygote.forks();
            info.spares = zygote.spares().count() as u64;
            info.memory = zygote.sandbox().group().memory();
        }
    }
    info
}

fn name_of(tier: Tier) -> String {
    format!("{tier:?}").to_lowercase()
}

//! What the supervisor tells of itself.

use pipsqueak::wire::{Fault, SandboxInfo, SandboxState, Status, Tier, ZygoteInfo};

use super::Supervisor;
use crate::fault::internal;
use crate::instance::Instance;
use crate::sync::lock;
use crate::zygote;

impl Supervisor {
    /// What is kept and done.
    pub async fn status(&self) -> Result<Status, Fault> {
        let tiers = &self.settings.tiers;
        let used =
            [(tiers.paused, Tier::Paused), (tiers.zygote, Tier::Zygote), (tiers.ssd, Tier::Ssd)];
        let environments = self.environments.list().await?;
        let keeper = self.keeper.clone();
        let mount = tokio::task::spawn_blocking(move || keeper.status()).await.map_err(internal)?;
        let damaged = self.environments.damaged().await?;
        let containers = self.containers.status().await?;
        let journal = self.journal.clone();
        let log_bytes =
            tokio::task::spawn_blocking(move || journal.bytes()).await.map_err(internal)?;
        let events = self.events.counts().await?;
        let mut sandboxes: Vec<_> =
            lock(&self.running).values().map(|(one, _)| info(one, SandboxState::Running)).collect();
        self.paused.each(|paused, memory| {
            let told = info(paused.instance(), SandboxState::Paused);
            sandboxes.push(SandboxInfo { memory, ..told });
        });
        Ok(Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: self.settings.state.clone(),
            group: self.sandboxes.group().to_owned(),
            tiers: used.into_iter().filter_map(|(on, tier)| on.then_some(tier)).collect(),
            memory_budget: self.allowance.now(),
            memory_used: self.paused.bytes() + self.zygotes.bytes(),
            mount,
            containers,
            environments: environments.into_iter().map(|environment| environment.name).collect(),
            functions: self.functions.list().len() as u64,
            growing: self.zygotes.is_growing(),
            zygotes: self.zygotes.slots().into_iter().map(zygote_info).collect(),
            standbys: self.zygotes.standbys() as u64,
            sandboxes,
            changing: self.sandboxes.changing(),
            waiting: self.waiting(),
            starts: lock(&self.starts)
                .iter()
                .map(|(tier, count)| (name_of(*tier), *count))
                .collect(),
            damaged,
            events,
            log_bytes,
        })
    }
}

/// An instance as it is told.
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

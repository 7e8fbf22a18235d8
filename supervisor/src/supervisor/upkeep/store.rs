//! Care of the store, as clients ask for it.

use std::time::Duration;

use pipsqueak::wire::{Fault, FaultKind, Progress, Reply, StoreRequest};
use tokio::sync::mpsc::UnboundedSender;

use super::Upkeep;

impl Upkeep {
    /// Carries out a request of `pipsqueak store`.
    pub async fn care(
        &self,
        request: StoreRequest,
        progress: &UnboundedSender<Progress>,
    ) -> Result<Reply, Fault> {
        let environments = &self.resources.environments;
        let functions = self.resources.functions.list();
        Ok(match request {
            StoreRequest::Du => {
                let used = self.resources.containers.used().await?;
                Reply::Usage(environments.usage(&functions, used).await?)
            }
            StoreRequest::Gc { dry_run, grace_ms } => {
                let grace = grace_ms.map_or(self.resources.settings.grace, Duration::from_millis);
                let used = self.resources.containers.used().await?;
                Reply::Collected(environments.collect(&functions, used, grace, dry_run).await?)
            }
            StoreRequest::Fsck => Reply::Checked(environments.fsck().await?),
            StoreRequest::FsckArchives => {
                Reply::Checked(environments.fsck_archives(progress).await?)
            }
            StoreRequest::Scrub { rate } => {
                Reply::Checked(environments.scrub(rate, progress).await?)
            }
            StoreRequest::Repair => {
                let repaired = environments.repair(progress).await?;
                if repaired.objects > 0 {
                    self.resources.containers.renew().await;
                    // Zygotes have loaded files of the old overlay, and their children would see the new one.
                    self.invocations.zygotes.evict(None);
                }
                Reply::Repaired(repaired)
            }
            StoreRequest::Pin { name } => {
                environments.pin(name.clone()).await?;
                Reply::Done { message: format!("pinned {name}") }
            }
            StoreRequest::Unpin { name } => {
                if !environments.unpin(name.clone()).await? {
                    let message = format!("{name} is not pinned; `pipsqueak store du` lists pins");
                    return Err(Fault { kind: FaultKind::NotFound, message });
                }
                Reply::Done { message: format!("unpinned {name}") }
            }
        })
    }
}

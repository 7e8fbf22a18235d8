//! The watch over memory: the allowance follows the memory of the machine and of the groups around us.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak::wire::SandboxChange;
use pipsqueak_policy::eviction::Judge;

use super::Upkeep;
use crate::machine::pressure::{self, Alarm};

impl Upkeep {
    /// Watches memory until the supervisor is gone.
    pub fn follow_memory(self: &Arc<Self>) -> io::Result<()> {
        let stalls = self.resources.sandboxes.stalls();
        let alarm = Alarm::set([pressure::MACHINE.into()].into_iter().chain(stalls))?;
        let mut judge = Judge::new(self.invocations.allowance.most());
        let upkeep = Arc::downgrade(self);
        tokio::spawn(async move {
            let began = Instant::now();
            while let Some(upkeep) = upkeep.upgrade() {
                upkeep.look(&mut judge, began.elapsed());
                drop(upkeep);
                let _ = tokio::time::timeout(judge.pace(), alarm.rung()).await;
            }
        });
        Ok(())
    }

    fn look(&self, judge: &mut Judge, now: Duration) {
        let mut readings = self.resources.sandboxes.readings();
        match pressure::machine() {
            Ok(machine) => readings.push(machine),
            Err(error) => tracing::debug!(%error, "reading how much memory the machine has"),
        }
        let kept = self.invocations.kept_bytes();
        let mut changing = self.resources.sandboxes.changing().into_iter();
        let is_settling = changing.any(|one| one.state == SandboxChange::Ending);
        let before = self.invocations.allowance.now();
        let allowed = judge.allow(now, readings, kept, is_settling);
        self.invocations.allowance.set(allowed);
        if allowed < before {
            tracing::info!(kept, allowed, "memory is short: less is kept");
        } else if allowed > before && allowed == self.invocations.allowance.most() {
            tracing::info!(allowed, "there is memory again for all that may be kept");
        }
        self.invocations.shrink();
    }
}

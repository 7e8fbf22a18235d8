//! The watch over memory: what is kept follows from what the machine and the groups around us have.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak::wire::SandboxChange;
use pipsqueak_policy::eviction::Judge;

use super::Supervisor;
use crate::machine::pressure::{self, Alarm};

/// Watches until the supervisor is gone.
pub fn follow_memory(supervisor: &Arc<Supervisor>) -> io::Result<()> {
    let stalls = supervisor.sandboxes.stalls();
    let alarm = Alarm::set([pressure::MACHINE.into()].into_iter().chain(stalls))?;
    let mut judge = Judge::new(supervisor.allowance.most());
    let supervisor = Arc::downgrade(supervisor);
    tokio::spawn(async move {
        let began = Instant::now();
        while let Some(supervisor) = supervisor.upgrade() {
            supervisor.look(&mut judge, began.elapsed());
            drop(supervisor);
            let _ = tokio::time::timeout(judge.pace(), alarm.rung()).await;
        }
    });
    Ok(())
}

impl Supervisor {
    fn look(&self, judge: &mut Judge, now: Duration) {
        let mut readings = self.sandboxes.readings();
        match pressure::machine() {
            Ok(machine) => readings.push(machine),
            Err(error) => tracing::debug!(%error, "reading how much memory the machine has"),
        }
        let kept = self.paused.bytes() + self.zygotes.bytes();
        let mut changing = self.sandboxes.changing().into_iter();
        let is_settling = changing.any(|one| one.state == SandboxChange::Ending);
        let before = self.allowance.now();
        let allowed = judge.allow(now, readings, kept, is_settling);
        self.allowance.set(allowed);
        if allowed < before {
            tracing::info!(kept, allowed, "memory is short: less is kept");
        } else if allowed > before && allowed == self.allowance.most() {
            tracing::info!(allowed, "there is memory again for all that may be kept");
        }
        self.shrink();
    }
}

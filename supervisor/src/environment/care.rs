//! Care of the store: cost, collection, checks, repair.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pipsqueak::wire::{Checked, Collected, Cost, Finding, LeaseInfo, Progress, Repaired, Usage};
use pipsqueak_fs::{Confine, Interpreter, Owner, RepositoryError, Step, fsck, gc};
use tokio::sync::mpsc::UnboundedSender;

use super::audience::told;
use super::error::EnvironmentsError;
use super::installer::Installer;
use super::requirements::name_of;
use super::shared::{Shared, blocking};
use super::table::Environments;
use crate::deployment::Function;
use crate::mount::mountinfo;

/// Name of the store as a whole in messages.
const STORE: &str = "store";

/// Findings of a check, and the number of bytes that it has read.
type Found = Result<(Vec<fsck::Finding>, u64), RepositoryError>;

impl Environments {
    /// Content and cost of the store. `used` are views that are seen in use.
    pub async fn usage(
        &self,
        functions: &[Arc<Function>],
        used: BTreeSet<String>,
    ) -> Result<Usage, EnvironmentsError> {
        let (shared, needed) = (self.shared.clone(), needed(functions));
        blocking(STORE, move || {
            let roots = shared.roots(&needed, used)?;
            Ok(told_usage(gc::usage(&shared.repository, &roots)?))
        })
        .await
    }

    /// Reclaims what nothing has reached for `grace`; a `dry_run` only says what that would be. `used`
    /// are views that are seen in use.
    pub async fn collect(
        &self,
        functions: &[Arc<Function>],
        used: BTreeSet<String>,
        grace: Duration,
        dry_run: bool,
    ) -> Result<Collected, EnvironmentsError> {
        let (shared, needed) = (self.shared.clone(), needed(functions));
        blocking(STORE, move || {
            let _turn = shared.care("a collection or a repair")?;
            let roots = shared.roots(&needed, used)?;
            let collected = if dry_run {
                gc::would_collect(&shared.repository, &roots, grace)?
            } else {
                // These names stand for nothing afterwards, even if the rest of the collection fails.
                let abandoned: Vec<_> = roots.abandoned.iter().cloned().collect();
                let _changing = shared.trees.changing(&abandoned);
                gc::collect(&shared.repository, &roots, grace, &*shared)?
            };
            Ok(told_collected(collected, dry_run))
        })
        .await
    }

    /// Compares catalog, segments and views.
    pub async fn fsck(&self) -> Result<Checked, EnvironmentsError> {
        let shared = self.shared.clone();
        blocking(STORE, move || Ok(told_checked(fsck::check(&shared.repository, &*shared.keeper)?)))
            .await
    }

    /// Compares catalog, segments and views, and all content with the archives that are still here.
    pub async fn fsck_archives(
        &self,
        progress: &UnboundedSender<Progress>,
    ) -> Result<Checked, EnvironmentsError> {
        let check = |shared: &Shared, told: &mut dyn FnMut(Step)| {
            fsck::check_archives(&shared.repository, &*shared.keeper, told)
        };
        self.read_all(progress, check).await
    }

    /// Reads and checks everything at no more than `rate` bytes per second.
    pub async fn scrub(
        &self,
        rate: Option<u64>,
        progress: &UnboundedSender<Progress>,
    ) -> Result<Checked, EnvironmentsError> {
        let check = move |shared: &Shared, told: &mut dyn FnMut(Step)| {
            fsck::scrub(&shared.repository, rate, &*shared.keeper, told)
        };
        self.read_all(progress, check).await
    }

    /// Runs a check that reads the whole store; only one runs at a time.
    async fn read_all(
        &self,
        progress: &UnboundedSender<Progress>,
        check: impl FnOnce(&Shared, &mut dyn FnMut(Step)) -> Found + Send + 'static,
    ) -> Result<Checked, EnvironmentsError> {
        let (shared, progress) = (self.shared.clone(), progress.clone());
        blocking(STORE, move || {
            let Ok(_turn) = shared.scrubbing.try_lock() else {
                return Err(EnvironmentsError::Busy("a scrub"));
            };
            Ok(told_checked(check(&shared, &mut teller(&progress))?))
        })
        .await
    }

    /// Gets damaged content again.
    pub async fn repair(
        &self,
        progress: &UnboundedSender<Progress>,
    ) -> Result<Repaired, EnvironmentsError> {
        let (shared, progress) = (self.shared.clone(), progress.clone());
        blocking(STORE, move || {
            let _turn = shared.care("a collection or a repair")?;
            let confining = |interpreter: &Interpreter| -> io::Result<(Box<dyn Confine>, _)> {
                let host = if interpreter.is_present {
                    interpreter.clone()
                } else {
                    Interpreter::inspect(&shared.python)?
                };
                let (sandboxes, runtime) = (shared.sandboxes.clone(), shared.runtime.clone());
                Ok((Box::new(Installer::new(sandboxes, host.clone(), runtime)), host))
            };
            let mut told = teller(&progress);
            let repaired = fsck::repair(&shared.repository, &confining, &*shared, &mut told)?;
            if repaired.objects > 0 {
                shared.renew();
            }
            Ok(told_repaired(repaired))
        })
        .await
    }

    /// Keeps an environment or a distribution in the store, even if its name is removed.
    pub async fn pin(&self, name: String) -> Result<(), EnvironmentsError> {
        let shared = self.shared.clone();
        blocking(STORE, move || Ok(shared.repository.pin(&name)?)).await
    }

    /// Stops keeping a pinned thing. True if it was pinned.
    pub async fn unpin(&self, name: String) -> Result<bool, EnvironmentsError> {
        let shared = self.shared.clone();
        blocking(STORE, move || Ok(shared.repository.unpin(&name)?)).await
    }

    /// Number of objects that are known to be damaged.
    pub async fn damaged(&self) -> Result<u64, EnvironmentsError> {
        let shared = self.shared.clone();
        blocking(STORE, move || Ok(fsck::damaged(&shared.repository, &*shared.keeper)?)).await
    }
}

impl Shared {
    fn care(&self, what: &'static str) -> Result<impl Drop + '_, EnvironmentsError> {
        self.caring.try_lock().map_err(|_| EnvironmentsError::Busy(what))
    }

    /// Roots of a collection that the catalog does not know. `needed` are the environments of
    /// functions, `views` those that are seen in use.
    fn roots(
        &self,
        needed: &BTreeSet<String>,
        views: BTreeSet<String>,
    ) -> Result<gc::Roots, EnvironmentsError> {
        let held = mountinfo::everywhere().and_then(|all| self.views.held(&all));
        let inodes = held.map_err(RepositoryError::Mount)?;
        let of_functions = self.repository.views_of(Owner::Functions)?.into_iter();
        let abandoned = of_functions.map(|(name, _)| name).filter(|name| !needed.contains(name));
        Ok(gc::Roots { abandoned: abandoned.collect(), inodes, views, ..gc::Roots::default() })
    }
}

fn needed(functions: &[Arc<Function>]) -> BTreeSet<String> {
    functions.iter().map(|function| name_of(function).to_owned()).collect()
}

fn teller(progress: &UnboundedSender<Progress>) -> impl FnMut(Step) {
    move |step| {
        // The client may be gone; the work is done all the same.
        let _ = progress.send(told(step));
    }
}

fn told_usage(usage: gc::Usage) -> Usage {
    let costs = |costs: std::collections::BTreeMap<String, gc::Cost>| {
        let told = costs.into_iter().map(|(name, cost)| Cost {
            name,
            content: cost.content,
            alone: cost.alone,
            shared: cost.shared,
        });
        told.collect()
    };
    Usage {
        environments: costs(usage.environments),
        distributions: costs(usage.distributions),
        pins: usage.pins,
        leases: usage.leases.into_iter().map(|(holder, view)| LeaseInfo { holder, view }).collect(),
        content: usage.content,
        objects: usage.objects,
        on_disk: usage.on_disk,
        dead: usage.dead,
    }
}

fn told_collected(collected: gc::Collected, dry_run: bool) -> Collected {
    Collected {
        dry_run,
        environments: collected.environments,
        distributions: collected.distributions,
        views: collected.views,
        objects: collected.objects,
        segments_removed: collected.segments_removed,
        segments_rewritten: collected.segments_rewritten,
        archives: collected.archives,
        bytes: collected.bytes,
        waiting: collected.waiting,
    }
}

fn told_findings(findings: Vec<fsck::Finding>) -> Vec<Finding> {
    let told = findings.into_iter().map(|finding| Finding {
        file: finding.file,
        what: finding.what,
        advice: finding.advice.to_owned(),
    });
    told.collect()
}

fn told_checked((findings, bytes): (Vec<fsck::Finding>, u64)) -> Checked {
    Checked { findings: told_findings(findings), bytes }
}

fn told_repaired(repaired: fsck::Repaired) -> Repaired {
    Repaired {
        distributions: repaired.distributions,
        objects: repaired.objects,
        indexes: repaired.indexes,
        findings: told_findings(repaired.findings),
    }
}

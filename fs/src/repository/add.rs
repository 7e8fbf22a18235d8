//! Adding: from requirements to stored distributions, by the phases of [`crate::ingest`].

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use super::environment::{Environment, EnvironmentSpec, Plain};
use super::{Repository, beside};
use crate::ingest::archive::gather::{Gather, Gathered};
use crate::ingest::archive::merged::merge;
use crate::ingest::archive::staged::Staged;
use crate::ingest::archive::staging::{Borrowed, Memory, Staging};
use crate::ingest::commit::{Incoming, Installed, commit};
use crate::ingest::confine::{Confine, Stop};
use crate::ingest::credentials;
use crate::ingest::resolve::archive_urls::ArchiveUrls;
use crate::ingest::resolve::built::Built;
use crate::ingest::resolve::lock::{self, Locked};
use crate::ingest::resolve::prefer::prefer;
use crate::ingest::resolve::source;
use crate::ingest::resolve::uv::Uv;
use crate::ingest::resolve::wanted::Wanted;
use crate::ingest::trace::{self, Traced};
use crate::ingest::{AddError, Step, Unit};
use crate::interpreter::Interpreter;
use crate::view::published::distribution_name;

impl Repository {
    /// Makes an environment, or replaces what a name stands for: resolves, installs what is not
    /// stored yet, stores it, and publishes the view. Blocks.
    pub fn add(
        &self,
        confine: &dyn Confine,
        spec: &EnvironmentSpec,
        told: &mut dyn FnMut(Step),
    ) -> Result<Environment, AddError> {
        let added = {
            let folder = self.downloads.folder();
            let _downloading = self.downloads.hold().map_err(AddError::at(folder))?;
            self.add_once(confine, spec, told)
        };
        if added.is_err() {
            self.downloads.clear_unpacked();
        }
        added
    }

    fn add_once(
        &self,
        confine: &dyn Confine,
        spec: &EnvironmentSpec,
        told: &mut dyn FnMut(Step),
    ) -> Result<Environment, AddError> {
        self.check_owner(spec)?;
        let work = self.folder()?;
        let uv = Uv {
            binary: &self.uv,
            cache: Some(self.downloads.folder()),
            interpreter: &spec.interpreter,
            host: &spec.host,
            work: work.path(),
            built: None,
            index: &self.index,
        };
        told(Step::begun("resolving"));
        let mut wanted = Wanted::of(&spec.requirements, &spec.interpreter)?;
        let mut built = self.built(&spec.interpreter)?;
        let preferred = if spec.upgrade {
            Vec::new()
        } else {
            self.catalog.locked_versions(&spec.interpreter.identity())?
        };
        let preferred = lock::preferences(&preferred);
        let locked = self.choose(confine, &uv, &mut wanted, &mut built, &preferred, told)?;
        let uv = Uv { built: Some(&built), ..uv };
        let _counted_on = self.hold_artifacts(&locked, &spec.interpreter);
        let used = self.obtain(confine, &uv, &wanted, &locked, told)?;
        told(Step::begun("publishing"));
        let published = self.publish(spec, &wanted, &locked)?;
        beside(move || drop(used));
        Ok(published)
    }

    /// Resolves, holds what was chosen to what is wanted, and chooses one wheel of each. Where an index has
    /// something else of a name and version than has the digest that was given, others are looked in.
    fn choose(
        &self,
        confine: &dyn Confine,
        uv: &Uv<'_>,
        wanted: &mut Wanted,
        built: &mut Built,
        preferred: &str,
        told: &mut dyn FnMut(Step),
    ) -> Result<Vec<Locked>, AddError> {
        loop {
            let text = self.resolve(confine, uv, wanted, built, preferred, told)?;
            let text = credentials::remove(&text);
            let chosen = lock::parse(&text)?;
            let found = match wanted.mistaken(&chosen) {
                Some(package) => uv.find_wheels(confine, wanted, &package)?,
                None => ArchiveUrls::default(),
            };
            if found.is_empty() {
                // Where uv has found them: a lock may say where they were.
                wanted.archives.replace(lock::archives(&text)?);
                let held = wanted.restrict_to_hashes(chosen)?;
                return Ok(prefer(held, &mut wanted.archives, uv.interpreter));
            }
            // Each is looked for once: of what is known where it is, nothing is mistaken again.
            wanted.archives.extend(found);
        }
    }

    /// Resolves; where it is allowed, what has no wheel is built until there is one of everything.
    fn resolve(
        &self,
        confine: &dyn Confine,
        uv: &Uv<'_>,
        wanted: &Wanted,
        built: &mut Built,
        preferred: &str,
        told: &mut dyn FnMut(Step),
    ) -> Result<String, AddError> {
        loop {
            let package =
                match (Uv { built: Some(built), ..*uv }).resolve(confine, wanted, preferred) {
                    Err(AddError::NoWheel { package, .. }) if wanted.may_build => package,
                    resolved => return resolved,
                };
            told(Step::begun(format!("building {package} from source")));
            let folder = self.folder()?;
            source::build(confine, uv, wanted, &package, built, folder.path())?;
        }
    }

    /// Wheels that were built for an interpreter, none of which is seen yet.
    pub(crate) fn built(&self, interpreter: &Interpreter) -> Result<Built, AddError> {
        let folder = self.built.join(interpreter.identity());
        fs::create_dir_all(&folder).map_err(AddError::at(&folder))?;
        Ok(Built { folder, digests: BTreeSet::new() })
    }

    /// Installs and stores what is not stored yet, or waits for whoever is at it; the staging folders
    /// of that, which nobody needs any more.
    fn obtain(
        &self,
        confine: &dyn Confine,
        uv: &Uv<'_>,
        wanted: &Wanted,
        locked: &[Locked],
        told: &mut dyn FnMut(Step),
    ) -> Result<Vec<(TempDir, Option<Borrowed>)>, AddError> {
        let key = |one: &Locked| format!("{} {}", one.artifact(), uv.interpreter.identity());
        let mut used = Vec::new();
        loop {
            let missing = self.missing(locked, uv.interpreter)?;
            if missing.is_empty() {
                return Ok(used);
            }
            let keys: Vec<String> = missing.iter().map(|one| key(one)).collect();
            let claim = self.claims.take(&keys);
            // Others may have stored some of it before it was claimed.
            let mut missing = self.missing(locked, uv.interpreter)?;
            missing.retain(|one| claim.has(&key(one)));
            if !missing.is_empty() {
                told(Step::begun(format!("installing {} distributions", missing.len())));
                let present = self.present(locked, uv.interpreter)?;
                used.push(self.install(confine, uv, wanted, &missing, &present, told)?);
            }
        }
    }

    /// Installs requirements into `folder`, shared with nobody and nothing kept. Blocks.
    pub fn install_plain(
        &self,
        confine: &dyn Confine,
        spec: &EnvironmentSpec,
        folder: &Path,
    ) -> Result<Plain, AddError> {
        let work = self.folder()?;
        let interpreter = &spec.interpreter;
        let wanted = Wanted::of(&spec.requirements, interpreter)?;
        let mut built = self.built(interpreter)?;
        let uv = Uv {
            binary: &self.uv,
            cache: None,
            interpreter,
            host: &spec.host,
            work: work.path(),
            built: None,
            index: &self.index,
        };
        if wanted.may_build {
            // Builds what has to be built, so that installing builds nothing.
            let none = lock::preferences(&[]);
            self.resolve(confine, &uv, &wanted, &mut built, &none, &mut |_| {})?;
        }
        let uv = Uv { built: Some(&built), ..uv };
        uv.install_plain(confine, &wanted, folder)?;
        let distributions = Staged::open(folder)?.distributions(&interpreter.site_packages())?;
        let modules = distributions
            .into_iter()
            .filter(|distribution| wanted.requested.contains(&distribution.name))
            .flat_map(|distribution| distribution.modules);
        Ok(Plain { modules: modules.collect() })
    }

    pub(crate) fn missing<'a>(
        &self,
        locked: &'a [Locked],
        interpreter: &Interpreter,
    ) -> Result<Vec<&'a Locked>, AddError> {
        let mut missing = Vec::new();
        for one in locked {
            if self.catalog.distribution(&one.artifact(), &interpreter.identity())?.is_none() {
                missing.push(one);
            }
        }
        Ok(missing)
    }

    /// Paths in the mount of those locked distributions that are stored.
    fn present(
        &self,
        locked: &[Locked],
        interpreter: &Interpreter,
    ) -> Result<Vec<PathBuf>, AddError> {
        let mut present = Vec::new();
        for one in locked {
            let stored = self.catalog.distribution(&one.artifact(), &interpreter.identity())?;
            if let Some(stored) = stored {
                let name = distribution_name(&stored.name, &stored.version, &stored.digest);
                present.push(self.mount.join("dists").join(name));
            }
        }
        // One that no environment has now is not shown.
        present.retain(|path| path.exists());
        Ok(present)
    }

    fn install(
        &self,
        confine: &dyn Confine,
        uv: &Uv<'_>,
        wanted: &Wanted,
        missing: &[&Locked],
        present: &[PathBuf],
        told: &mut dyn FnMut(Step),
    ) -> Result<(TempDir, Option<Borrowed>), AddError> {
        let (disk, memory) = (self.folder()?, self.memory.as_ref().and_then(Memory::borrow));
        let staging = Staging::of(disk.path(), memory.as_ref())?;
        let interpreter = uv.interpreter;
        let (archive_cache, stop) = (&self.archive_cache, &Stop::default());
        let gather = Gather { confine, uv, archive_cache, wanted, staging: &staging, stop };
        let mut gathered = gather.all(missing, told)?;
        let (traced, rest) = if interpreter.is_present {
            told(Step::begun("tracing imports"));
            thread::scope(|scope| {
                let tracing = scope.spawn(|| trace(&gather, &gathered, present));
                let rest = gather.rest(&gathered);
                (tracing.join().unwrap_or_default(), rest)
            })
        } else {
            (Traced::default(), Ok(Vec::new()))
        };
        for (number, bytecode) in rest? {
            gathered[number].unpacked.add(bytecode);
        }
        let incoming = gathered.into_iter().zip(missing).map(|(one, locked)| Incoming {
            artifact: locked.artifact(),
            archive: one.archive,
            unpacked: one.unpacked,
        });
        let incoming: Vec<_> = incoming.collect();
        let _turn = self.turn();
        let mut tell = |done, total| {
            told(Step { step: "storing".to_owned(), done, total, unit: Unit::Bytes });
        };
        let interpreter = interpreter.identity();
        let installed = Installed { incoming: &incoming, traced, interpreter };
        commit(&self.catalog, &*self.segments, installed, &mut tell)?;
        Ok((disk, memory))
    }
}

/// The files that importing new distributions reads, with what is `present` beside them.
fn trace(gather: &Gather<'_>, gathered: &[Gathered], present: &[PathBuf]) -> Traced {
    let Gather { confine, uv, wanted, staging, stop, .. } = *gather;
    let root = staging.merged();
    match merge(gathered.iter().map(|one| &one.unpacked), uv.interpreter, &root) {
        Ok(()) => {
            let wanted = to_import(gathered, &wanted.requested);
            let wanted = (&wanted, stop);
            trace::trace_imports(confine, &root, present, uv.work, uv.interpreter, wanted)
        }
        // They exclude each other, which publishing tells.
        Err(error) => {
            tracing::warn!(%error, "imports are not traced");
            Traced::default()
        }
    }
}

/// Chooses what to import of new distributions to see what that reads: what was asked for first, as
/// functions will.
fn to_import(gathered: &[Gathered], requested: &BTreeSet<String>) -> trace::TraceRequest {
    let modules_of = |one: &Gathered| one.unpacked.modules.clone();
    let (asked, other): (Vec<_>, Vec<_>) =
        gathered.iter().partition(|one| requested.contains(&one.unpacked.name));
    let explored: Vec<String> = asked.into_iter().flat_map(modules_of).collect();
    let modules = explored.iter().cloned().chain(other.into_iter().flat_map(modules_of));
    trace::TraceRequest { modules: modules.collect(), explored }
}

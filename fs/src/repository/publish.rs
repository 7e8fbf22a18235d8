//! Publishing: from stored distributions to an environment that the mount shows.

use std::io::Read;

use super::Repository;
use super::environment::{self, Environment, EnvironmentSpec};
use crate::catalog::Owner;
use crate::catalog::{
    FileContent, NewDistribution, NewObject, StoredDistribution, StoredEnvironment,
    remove_unless_entered,
};
use crate::id::Digest;
use crate::ingest::AddError;
use crate::ingest::resolve::lock::{self, Locked};
use crate::ingest::resolve::wanted::Wanted;
use crate::interpreter::Interpreter;
use crate::store::append::Appender;
use crate::store::{StoreError, pack};
use crate::view::publish::own_view;

impl Repository {
    pub(crate) fn publish(
        &self,
        spec: &EnvironmentSpec,
        wanted: &Wanted,
        locked: &[Locked],
    ) -> Result<Environment, AddError> {
        let _turn = self.turn();
        self.check_owner(spec)?;
        let identity = spec.interpreter.identity();
        let venv = self.venv(&spec.interpreter)?;
        let mut members = Vec::new();
        for one in locked {
            let stored = self.catalog.distribution(&one.artifact(), &identity)?;
            members.push(stored.ok_or_else(|| {
                AddError::Lock(format!("{} is not stored although it was installed", one.name))
            })?);
        }
        let digest = environment::digest(&spec.interpreter, &members);
        let view = environment::view(&spec.name, &digest);
        let parts: Vec<_> = [&venv].into_iter().chain(&members).cloned().collect();
        let views = self.views();
        views.make(&view, &parts, Some(&spec.interpreter))?;
        for member in &members {
            views.make(&own_view(&member.digest), std::slice::from_ref(member), None)?;
        }
        let stored = StoredEnvironment {
            name: spec.name.clone(),
            owner: spec.owner,
            view,
            requirements: spec.requirements.clone(),
            lock: lock::write(locked, &wanted.archives)?,
            interpreter: spec.interpreter.clone(),
            distributions: members
                .into_iter()
                .map(|member| {
                    let requested = wanted.requested.contains(&member.name);
                    (member, requested)
                })
                .collect(),
            files: 0,
            bytes: 0,
        };
        self.catalog.put_environment(&stored)?;
        // What was quarantined may have come with it, and others have that too.
        if let Err(error) = views.write_stale() {
            tracing::error!(%error, "writing the indexes of what was quarantined");
        }
        self.show()?;
        let stored = self.catalog.environment(&spec.name)?.unwrap_or(stored);
        Ok(Environment::of(stored))
    }

    /// Refuses a name that stands for somebody else's environment.
    pub(super) fn check_owner(&self, spec: &EnvironmentSpec) -> Result<(), AddError> {
        let name = spec.name.clone();
        match (self.catalog.environment(&name)?.map(|there| there.owner), spec.owner) {
            (Some(Owner::Functions), Owner::User) => Err(AddError::OfFunctions { name }),
            (Some(Owner::User), Owner::Functions) => Err(AddError::OfUser { name }),
            _ => Ok(()),
        }
    }

    /// Makes what every environment of an interpreter has besides packages.
    fn venv(&self, interpreter: &Interpreter) -> Result<StoredDistribution, AddError> {
        let text = interpreter.pyvenv_cfg();
        let content = text.as_bytes();
        let digest = Digest::of(content);
        let (artifact, identity) = (format!("venv-{digest}"), interpreter.identity());
        if let Some(stored) = self.catalog.distribution(&artifact, &identity)? {
            return Ok(stored);
        }
        let appender = Appender::begin(&*self.segments, self.catalog.begin_segment()?)?;
        let read = |_, from, part: &mut [u8]| {
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            content.get(from..).and_then(|mut rest| rest.read_exact(part).ok());
            Ok::<_, StoreError>(())
        };
        let sizes = [content.len() as u64];
        let sealed = pack::write(appender, &sizes, read, &mut |_, _| {})?;
        let objects = NewObject::all([digest], &sealed);
        let file = FileContent { object: Some(digest), executable: false };
        let new = NewDistribution {
            artifact: artifact.clone(),
            archive: None,
            interpreter: identity.clone(),
            name: environment::VENV.to_owned(),
            version: interpreter.version.clone(),
            digest,
            modules: Vec::new(),
            files: vec![("pyvenv.cfg".to_owned(), file)],
            trace: None,
        };
        let stored = self.catalog.store(&sealed, &objects, &[new]);
        remove_unless_entered(&*self.segments, sealed.id, stored)?;
        let stored = self.catalog.distribution(&artifact, &identity)?;
        stored.ok_or_else(|| AddError::Lock("what was just stored is not there".to_owned()))
    }
}

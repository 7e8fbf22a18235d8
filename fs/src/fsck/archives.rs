//! Comparing what is stored with the archives that it is of, where these are still here.

use std::collections::BTreeMap;
use std::path::Path;

use super::check::is_venv;
use super::{AGAIN, FORGED, Finding};
use crate::catalog::{DistributionRow, FileContent};
use crate::ingest::commit::is_bytecode;
use crate::ingest::unpack;
use crate::ingest::wheel::layout::Expected;
use crate::ingest::{AddError, Step, Unit};
use crate::interpreter::Interpreter;
use crate::repository::{Mounted, Repository, RepositoryError};

/// Files of one distribution that are told of, at most.
const MOST_FILES: usize = 10;

impl Repository {
    /// Compares all content with the catalog, and that with the archives; what is wrong, and how many
    /// bytes were read. Blocks.
    pub fn check_archives(
        &self,
        mount: &dyn Mounted,
        told: &mut dyn FnMut(Step),
    ) -> Result<(Vec<Finding>, u64), RepositoryError> {
        let (mut findings, _) = self.check(mount)?;
        let (damaged, bytes) = self.scrub(None, mount, told)?;
        findings.extend(damaged);
        let interpreters = self.interpreters()?;
        let rows = self.catalog.snapshot()?.distributions;
        let total = rows.len() as u64;
        for ((id, row), done) in rows.iter().zip(0..) {
            told(Step { step: "comparing".to_owned(), done, total, unit: Unit::Things });
            if let (Some(hash), Some(interpreter)) =
                (&row.archive, interpreters.get(&row.interpreter))
                && !is_venv(row)
            {
                let stored = self.catalog.files(*id)?;
                let what = self.differences(row, hash, interpreter, &stored)?;
                findings.extend(what.into_iter().map(|what| self.forged(row, &what)));
            }
        }
        findings.sort_unstable();
        findings.dedup();
        Ok((findings, bytes))
    }

    /// The differences from a distribution's archive; nothing where that is not here any more.
    fn differences(
        &self,
        row: &DistributionRow,
        hash: &str,
        interpreter: &Interpreter,
        stored: &[(String, FileContent)],
    ) -> Result<Vec<String>, RepositoryError> {
        let Some(archive) = self.kept.with(hash)? else { return Ok(Vec::new()) };
        let expected = Expected { name: &row.name, version: Some(&row.version), interpreter };
        let unpacked = match unpack::look(&archive.file, &expected) {
            Ok(unpacked) => unpacked,
            Err(AddError::Hostile { reason, .. }) => return Ok(vec![reason]),
            Err(error) => return Err(error.into()),
        };
        let archived = unpacked.files.into_iter().map(|file| (file.path, file.content));
        let archived: BTreeMap<String, FileContent> = archived.collect();
        let stored = stored.iter().map(|(path, content)| (&**path, content));
        let stored: BTreeMap<&str, &FileContent> = stored.collect();
        let mut differences = Vec::new();
        for (path, content) in &archived {
            match stored.get(&**path) {
                Some(known) if *known == content => {}
                Some(_) => differences.push(format!("{path:?} is not what its archive has")),
                None => differences.push(format!("{path:?} of its archive is not stored")),
            }
        }
        // Bytecode is of no archive, and is made of a source that was compared.
        let is_made = |path: &str| is_bytecode(path) && path.contains("/__pycache__/");
        for path in stored.keys().filter(|path| !archived.contains_key(**path) && !is_made(path)) {
            differences.push(format!("{path:?} is not in its archive"));
        }
        let more = differences.len().saturating_sub(MOST_FILES);
        differences.truncate(MOST_FILES);
        differences.extend((more > 0).then(|| format!("{more} more files differ")));
        Ok(differences)
    }

    fn forged(&self, row: &DistributionRow, what: &str) -> Finding {
        let what = format!("{} {}: {what}", row.name, row.version);
        Finding { file: self.catalog.path().to_owned(), what, advice: FORGED }
    }

    /// The interpreters of environments, by what packages for them are known by.
    fn interpreters(&self) -> Result<BTreeMap<String, Interpreter>, RepositoryError> {
        let mut found = BTreeMap::new();
        for name in self.catalog.environment_names()? {
            if let Some(environment) = self.catalog.environment(&name)? {
                found.insert(environment.interpreter.identity(), environment.interpreter);
            }
        }
        Ok(found)
    }
}

/// The distributions that were stored before each was unpacked by itself.
pub fn earlier(catalog: &Path, row: &DistributionRow) -> Option<Finding> {
    let is_earlier = row.archive.is_none() && !is_venv(row);
    is_earlier.then(|| Finding {
        file: catalog.to_owned(),
        what: format!(
            "{} {} was stored by an earlier version, which installed several distributions into one \
             folder",
            row.name, row.version
        ),
        advice: AGAIN,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Read;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::catalog::Owner;
    use crate::gc::mark::Roots;
    use crate::ingest::commit::{Incoming, Installed, commit};
    use crate::ingest::lock::Locked;
    use crate::ingest::room::Room;
    use crate::ingest::trace::Recorded;
    use crate::ingest::unpacked::UnpackedFile;
    use crate::ingest::wanted::Wanted;
    use crate::ingest::wheel::sample;
    use crate::repository::EnvironmentSpec;
    use crate::repository::tests::fixture::Store;
    use crate::requirements::Requirements;

    /// Adds an environment of a wheel, of which `change` changes what is stored.
    fn stored(change: impl Fn(&Path, &mut Vec<UnpackedFile>)) -> (Store, Locked) {
        let store = Store::new();
        let archive =
            sample::wheel(&[("thing.py", "x = 'as published'\n"), ("same.py", "x = 1\n")]);
        let mut content = Vec::new();
        (&*archive).read_to_end(&mut content).unwrap();
        let path = store.folder.path().join("thing.whl");
        std::fs::write(&path, content).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let summed = std::process::Command::new("sha256sum").arg(&path).output().unwrap();
        let digest = String::from_utf8(summed.stdout).unwrap()[..64].to_owned();
        let locked = Locked {
            name: "thing".to_owned(),
            version: "1.0".to_owned(),
            url: None,
            hashes: vec![format!("sha256:{digest}")],
            source: None,
        };
        let repository = &store.repository;
        let archive = repository.kept.take(&locked, &file).unwrap().unwrap();
        let interpreter = sample::interpreter();
        let expected = Expected { name: "thing", version: Some("1.0"), interpreter: &interpreter };
        let root = store.folder.path().join("root");
        let space = Room::of(store.folder.path()).unwrap();
        let mut unpacked = unpack::unpack(&archive.file, &expected, &root, &space).unwrap();
        change(&root, &mut unpacked.files);
        let incoming = [Incoming { artifact: locked.artifact(), archive: archive.hash, unpacked }];
        let installed = Installed {
            incoming: &incoming,
            recorded: Recorded::default(),
            interpreter: interpreter.identity(),
        };
        commit(&repository.catalog, &repository.segments, installed, &mut |_, _| {}).unwrap();
        let spec = EnvironmentSpec {
            name: "e".to_owned(),
            owner: Owner::User,
            requirements: Requirements::default(),
            host: interpreter.clone(),
            interpreter,
            upgrade: false,
        };
        let wanted = Wanted::of(&spec.requirements, &spec.interpreter).unwrap();
        repository.publish(&spec, &wanted, std::slice::from_ref(&locked)).unwrap();
        store.shown.reload(&[]).unwrap();
        (store, locked)
    }

    fn whats(store: &Store) -> BTreeSet<String> {
        let (findings, _) = store.repository.check_archives(&store.shown, &mut |_| {}).unwrap();
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn what_is_stored_as_its_archive_has_it_is_sound() {
        let (store, _) = stored(|_, _| {});
        assert_eq!(whats(&store), BTreeSet::new());
    }

    #[test]
    fn archives_that_nobody_needs_go_with_a_collection() {
        let (store, locked) = stored(|_, _| {});
        let archives = store.folder.path().join("cache/archives");
        let needed = archives.join(locked.hashes[0].replace(':', "-"));
        let paths = ["0", "1"].map(|digit| archives.join(format!("sha256-{}", digit.repeat(64))));
        for path in &paths {
            std::fs::write(path, "archive").unwrap();
        }
        let old = SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
        for path in [&needed, &paths[0]] {
            std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        }
        let there = || [&needed, &paths[0], &paths[1]].map(|path| path.exists());
        let (repository, roots, grace) = (&store.repository, Roots::default(), Duration::ZERO);
        let would = repository.would_collect(&roots, grace).unwrap();
        assert_eq!((would.archives, would.bytes, there()), (1, 7, [true; 3]));
        let collected = repository.collect(&roots, grace, &store.shown).unwrap();
        assert_eq!((collected.archives, there()), (1, [true, false, true]));
    }

    #[test]
    fn what_is_not_what_its_archive_has_is_found_where_nothing_else_finds_it() {
        let site = "lib/python3.11/site-packages";
        let (store, locked) = stored(|root, files| {
            let content = b"x = 'hijacked'\n";
            for file in &mut *files {
                if file.path.ends_with("thing.py") {
                    std::fs::write(root.join(&file.path), content).unwrap();
                    file.content.object = Some(crate::id::Digest::of(content));
                    file.size = content.len() as u64;
                }
            }
            files.retain(|file| !file.path.ends_with("same.py"));
            let more = files.iter().find(|file| file.path.ends_with("thing.py")).cloned();
            let mut more = more.unwrap();
            let path = format!("{site}/more.py");
            std::fs::copy(root.join(&more.path), root.join(&path)).unwrap();
            more.path = path;
            files.push(more);
        });
        assert_eq!(store.check(), []);
        assert_eq!(store.scrub(), []);
        let expected = [
            format!("thing 1.0: \"{site}/more.py\" is not in its archive"),
            format!("thing 1.0: \"{site}/same.py\" of its archive is not stored"),
            format!("thing 1.0: \"{site}/thing.py\" is not what its archive has"),
        ];
        assert_eq!(whats(&store), expected.into());
        // What is not here any more is compared with nothing.
        let digest = locked.hashes[0].replace(':', "-");
        std::fs::remove_file(store.folder.path().join("cache/archives").join(digest)).unwrap();
        assert_eq!(whats(&store), BTreeSet::new());
    }
}

//! A repository with made-up distributions, and the core of the mount that shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{FileContent, Owner};
use crate::fsck::{Finding, check, scrub};
use crate::gc::{Collected, Roots, collect};
use crate::id::{Digest, ObjectId};
use crate::ingest::AddError;
use crate::ingest::archive::unpacked::{Unpacked, UnpackedFile};
use crate::ingest::commit::{Incoming, Installed, commit};
use crate::ingest::resolve::lock::{self, Locked};
use crate::ingest::resolve::search_scope::IndexOptions;
use crate::ingest::resolve::wanted::Wanted;
use crate::ingest::trace::Traced;
use crate::interpreter::Interpreter;
use crate::repository::{EnvironmentSpec, Mounted, Repository};
use crate::requirements::Requirements;
use crate::store::faulty::Faulty;
use crate::store::local::Local;
use crate::store::segment::FRAME_BYTES;
use crate::store::segments::Segments;
use crate::vfs::{FileKind, Vfs, VfsError};
use crate::view::inode::{ENVS, SHOWN};

const SITE: &str = "lib/python3.11/site-packages";

/// A made-up distribution: a name and a version.
pub type Package = (u8, u8);
/// Content by path.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// A repository, and what shows it.
#[derive(Debug)]
pub struct Store {
    pub folder: tempfile::TempDir,
    pub repository: Repository,
    pub shown: TestMount,
}

/// The core of the mount.
#[derive(Debug)]
pub struct TestMount(pub Vfs);

impl Mounted for TestMount {
    fn reload(&self, _: &[String]) -> io::Result<()> {
        self.0.reload().map(|_| ()).map_err(io::Error::other)
    }

    fn suspects(&self) -> io::Result<Vec<ObjectId>> {
        Ok(self.0.take_suspects())
    }
}

impl Store {
    /// An empty one.
    pub fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    fn in_folder(folder: tempfile::TempDir) -> Self {
        let repository = open(folder.path());
        let shown = TestMount(Vfs::open(&folder.path().join("state")).unwrap());
        Self { folder, repository, shown }
    }

    /// An empty one whose segments can be made to fail.
    pub fn faulty() -> (Self, Arc<Faulty>) {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::of(&folder.path().join("state"));
        local.create().unwrap();
        let segments = Faulty::of(local);
        let repository = open_with(folder.path(), segments.clone());
        let shown = TestMount(Vfs::open(&folder.path().join("state")).unwrap());
        (Self { folder, repository, shown }, segments)
    }

    /// Opens the repository again, as the next start does.
    pub fn restart(self) -> Self {
        let Self { folder, repository, shown } = self;
        drop((repository, shown));
        Self::in_folder(folder)
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Adds an environment of packages, as one would be whose packages uv has installed.
    pub fn add(&self, name: &str, packages: &BTreeSet<Package>) -> Result<(), AddError> {
        self.add_as(name, packages, Requirements::default())
    }

    /// Variant of [`Self::add`] with requirements.
    pub fn add_as(
        &self,
        name: &str,
        packages: &BTreeSet<Package>,
        requirements: Requirements,
    ) -> Result<(), AddError> {
        let repository = &self.repository;
        let spec = EnvironmentSpec {
            name: name.to_owned(),
            owner: Owner::User,
            requirements,
            interpreter: interpreter(),
            host: interpreter(),
            upgrade: false,
        };
        let wanted = Wanted::of(&spec.requirements, &spec.interpreter)?;
        let locked = wanted.restrict_to_hashes(lock::parse(&lock_of(packages))?)?;
        let _wanted = repository.hold_artifacts(&locked, &spec.interpreter);
        let missing = repository.missing(&locked, &spec.interpreter)?;
        if !missing.is_empty() {
            let staging = repository.folder()?;
            stage(staging.path(), packages);
            let incoming = missing.iter().map(|one| Incoming {
                artifact: one.artifact(),
                archive: one.hashes[0].clone(),
                unpacked: unpacked(staging.path(), one),
            });
            let incoming: Vec<_> = incoming.collect();
            let _turn = repository.turn();
            let installed = Installed {
                incoming: &incoming,
                traced: Traced::default(),
                interpreter: spec.interpreter.identity(),
            };
            commit(&repository.catalog, &*repository.segments, installed, &mut |_, _| {})?;
        }
        repository.publish(&spec, &wanted, &locked)?;
        self.shown.reload(&[]).unwrap();
        Ok(())
    }

    pub fn remove(&self, name: &str) {
        self.repository.remove(name).unwrap();
        self.shown.reload(&[]).unwrap();
    }

    /// Collects without a grace period.
    pub fn collect(&self) -> Collected {
        self.collect_but(&Roots::default())
    }

    /// Collects all but what is reached from these.
    pub fn collect_but(&self, roots: &Roots) -> Collected {
        collect(&self.repository, roots, Duration::ZERO, &self.shown).unwrap()
    }

    pub fn check(&self) -> Vec<Finding> {
        check(&self.repository, &self.shown).unwrap().0
    }

    pub fn scrub(&self) -> Vec<Finding> {
        scrub(&self.repository, None, &self.shown, &mut |_| {}).unwrap().0
    }

    /// Names of all environments that are shown.
    pub fn names(&self) -> BTreeSet<String> {
        let entries = self.shown.0.list(ENVS, 2).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    /// The packages' files of an environment, read through the mount.
    pub fn tree(&self, name: &str) -> Result<Tree, VfsError> {
        let root = entered(&self.shown.0, name)?.expect("it is there");
        self.tree_of(root)
    }

    /// The packages' files of the folder with an inode.
    pub fn tree_of(&self, root: u64) -> Result<Tree, VfsError> {
        let vfs = &self.shown.0;
        let mut tree = Tree::new();
        let mut waiting = vec![(root, String::new())];
        while let Some((folder, path)) = waiting.pop() {
            for entry in vfs.list(folder, 2)? {
                let path = format!("{path}/{}", entry.name);
                let attributes = entry.attributes;
                match attributes.kind {
                    FileKind::Folder => waiting.push((attributes.inode, path)),
                    FileKind::File if !path.contains("dist-info") && path != "/pyvenv.cfg" => {
                        let content = vfs.read(attributes.inode, 0, 1 << 30)?;
                        tree.insert(path, content.to_vec());
                    }
                    FileKind::File => drop(vfs.read(attributes.inode, 0, 1 << 30)?),
                    FileKind::Link => drop(vfs.link(attributes.inode)?),
                }
            }
        }
        Ok(tree)
    }
}

/// The folder to which the name of an environment leads.
pub fn entered(vfs: &Vfs, name: &str) -> Result<Option<u64>, VfsError> {
    let Some(link) = vfs.lookup(ENVS, name)? else { return Ok(None) };
    let target = vfs.link(link.inode)?;
    let view = target.strip_prefix(".views/").expect("it leads to the folder of views");
    Ok(vfs.lookup(SHOWN, view)?.map(|folder| folder.inode))
}

/// Opens the repository in a folder.
pub fn open(folder: &Path) -> Repository {
    let (state, cache) = (folder.join("state"), folder.join("cache"));
    let (uv, mount) = ("/nowhere/uv".into(), folder.join("mount"));
    Repository::open(&state, &cache, uv, mount, IndexOptions::default()).unwrap()
}

fn open_with(folder: &Path, segments: Arc<dyn Segments>) -> Repository {
    let (state, cache) = (folder.join("state"), folder.join("cache"));
    let (uv, mount) = ("/nowhere/uv".into(), folder.join("mount"));
    Repository::open_with(&state, &cache, uv, mount, IndexOptions::default(), segments).unwrap()
}

/// Files of an environment of packages.
pub fn tree(packages: &BTreeSet<Package>) -> Tree {
    packages.iter().flat_map(|package| files(*package)).collect()
}

/// Files of a package, from the root: some that its other versions have too, and some that all
/// have, of sizes around a frame's.
fn files((name, version): Package) -> Vec<(String, Vec<u8>)> {
    let site = |file: &str| format!("/{SITE}/p{name}/{file}");
    let noise = |seed: u64, length: usize| {
        let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        let mut content = vec![0; length];
        reader.fill(&mut content);
        content
    };
    let (name, version) = (u64::from(name), u64::from(version));
    vec![
        (site("__init__.py"), format!("version = {version}\n").into_bytes()),
        (site("empty.py"), Vec::new()),
        (site("common.py"), b"def common(): ...\n".to_vec()),
        (site("old.py"), noise(name, 3000)),
        (site("new.py"), noise(name << 8 | version, 5000)),
        (site("large.so"), noise(name << 16 | version, FRAME_BYTES * 3 / 2)),
        (site("__pycache__/new.cpython-311.pyc"), noise(name << 24 | version, 700)),
    ]
}

/// A staging folder with packages installed in it.
pub fn stage(root: &Path, packages: &BTreeSet<Package>) {
    for package @ (name, version) in packages {
        let mut record = String::new();
        for (path, content) in files(*package) {
            let file = root.join(&path[1..]);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, content).unwrap();
            let mode = if path.ends_with("large.so") { 0o755 } else { 0o644 };
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let listed = path.strip_prefix(&format!("/{SITE}/")).unwrap();
            writeln!(record, "{listed},,").unwrap();
        }
        let info = root.join(SITE).join(format!("p{name}-{version}.dist-info"));
        fs::create_dir_all(&info).unwrap();
        writeln!(record, "p{name}-{version}.dist-info/RECORD,,").unwrap();
        fs::write(info.join("RECORD"), record).unwrap();
    }
}

/// A package of a staging folder, as it lies there.
pub fn unpacked(root: &Path, locked: &Locked) -> Unpacked {
    let (name, version) = (&*locked.name, &*locked.version);
    let package = (name[1..].parse().unwrap(), version.parse().unwrap());
    let record = format!("/{SITE}/{name}-{version}.dist-info/RECORD");
    let paths = files(package).into_iter().map(|(path, _)| path).chain([record]);
    let files = paths.map(|path| {
        let file = root.join(&path[1..]);
        let content = fs::read(&file).unwrap();
        let executable = file.metadata().unwrap().permissions().mode() & 0o111 != 0;
        let object = (!content.is_empty()).then(|| Digest::of(&content));
        UnpackedFile {
            path: path[1..].to_owned(),
            content: FileContent { object, executable },
            size: content.len() as u64,
            compiled: None,
        }
    });
    Unpacked::at(root, name.to_owned(), version.to_owned(), files.collect())
}

/// A lock in which each package has two wheels.
pub fn lock_of(packages: &BTreeSet<Package>) -> String {
    let lines = packages.iter().map(|package| {
        let [one, other] = hashes(*package);
        let (name, version) = package;
        format!(
            "[[packages]]\nname = \"p{name}\"\nversion = \"{version}\"\n\
             wheels = [{{ hashes = {{ sha256 = \"{one}\" }} }}, \
             {{ hashes = {{ sha256 = \"{other}\" }} }}]\n"
        )
    });
    lines.collect()
}

/// SHA-256 of a package's wheels, as far as anybody looks.
pub fn hashes((name, version): Package) -> [String; 2] {
    let hash = |wheel: u8| Digest::of(format!("{name} {version} {wheel}").as_bytes()).to_string();
    [hash(0), hash(1)]
}

pub fn interpreter() -> Interpreter {
    Interpreter {
        executable: "/usr/bin/python3.11".into(),
        version: "3.11.2".to_owned(),
        base_prefix: "/usr".into(),
        named: Vec::new(),
        parts: Vec::new(),
        library: None,
        cache_tag: "cpython-311".to_owned(),
        implementation: "cpython".to_owned(),
        platform: "linux-x86_64".to_owned(),
        is_present: true,
    }
}

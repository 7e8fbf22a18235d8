//! What two environments have in common is there once.

use std::os::unix::fs::MetadataExt;

use crate::harness::{Instance, Options, cache, kept_caches};
use crate::tests;

tests!(two_environments_share_objects_and_inodes, equal_environments_have_their_own_folders);

/// Bytes that the instance's store has on disk.
fn stored(instance: &Instance) -> u64 {
    let segments = std::fs::read_dir(instance.state().join("segments")).unwrap();
    segments.map(|segment| segment.unwrap().metadata().unwrap().len()).sum()
}

fn two_environments_share_objects_and_inodes() {
    let instance = Instance::start(&Options::default());
    // Made first, so that what is measured is not the download.
    let _ = cache();
    instance.ok(&["env", "add", "one", "pandas"]);
    let before = stored(&instance);
    instance.ok(&["env", "add", "two", "pandas", "six", "idna"]);
    let grown = stored(&instance) - before;
    assert!(before > 10 << 20 && grown < 1 << 20, "{before} bytes, then {grown} more");

    let site =
        |env: &str| instance.mount().join(format!("envs/{env}/lib/python3.11/site-packages"));
    let inode = |env: &str, path: &str| std::fs::metadata(site(env).join(path)).unwrap().ino();
    for path in ["pandas/__init__.py", "pandas/core/frame.py", "numpy/__init__.py"] {
        assert_eq!(inode("one", path), inode("two", path), "{path}");
        let cached = path.replace("__init__.py", "__pycache__/__init__.cpython-311.pyc");
        assert_eq!(inode("one", &cached), inode("two", &cached), "{cached}");
    }
    assert_ne!(inode("one", "pandas"), inode("two", "pandas"), "folders have their own");
    // The same content under another name is the same inode; an empty file never is.
    let empty = |path: &str| std::fs::metadata(site("one").join(path)).unwrap();
    let found: Vec<_> = ["pandas/py.typed", "numpy/py.typed", "pandas/api/typing/py.typed"]
        .into_iter()
        .filter(|path| site("one").join(path).exists())
        .map(empty)
        .collect();
    for (at, one) in found.iter().enumerate() {
        for other in &found[at + 1..] {
            assert!(one.size() > 0 || one.ino() != other.ino());
        }
    }
}

/// The kernel knows a folder by one path: shared by two, each use by one path takes it from the other.
fn equal_environments_have_their_own_folders() {
    let instance = Instance::start(&Options::default());
    for name in ["one", "two"] {
        instance.ok(&["env", "add", name, "six", "idna"]);
    }
    let digest = |env: &str| instance.json(&["env", "show", env, "--json"])["digest"].clone();
    assert_eq!(digest("one"), digest("two"));
    let site =
        |env: &str| instance.mount().join(format!("envs/{env}/lib/python3.11/site-packages"));
    let list = |env: &str| std::fs::read_dir(site(env)).unwrap().count();
    let lookups = || instance.status()["mount"]["requests"]["lookup"].as_u64().unwrap();
    let _caches = kept_caches();
    let _ = (list("one"), list("two"));
    let before = lookups();
    for _ in 0..10 {
        assert_eq!(list("one"), list("two"));
    }
    assert_eq!(lookups(), before);
    let inode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().ino();
    assert_ne!(inode(site("one")), inode(site("two")));
    assert_eq!(inode(site("one").join("six.py")), inode(site("two").join("six.py")));
}

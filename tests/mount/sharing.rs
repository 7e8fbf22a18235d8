//! Parts that two environments have in common are stored once.

use std::os::unix::fs::MetadataExt;

use std::process::Command;

use crate::harness::{Index, Instance, Options, cache, folder, kept_caches};
use crate::tests;

tests!(
    two_environments_share_objects_and_inodes,
    equal_environments_have_their_own_folders,
    copies_of_a_library_have_states_of_their_own,
);

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

/// The kernel knows a folder by one path; two paths to one folder would displace each other.
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

/// Two paths of equal libraries are two libraries, as on any file system.
fn copies_of_a_library_have_states_of_their_own() {
    let made = folder();
    let source = made.path().join("count.c");
    std::fs::write(&source, "static int count; int next(void) { return ++count; }\n").unwrap();
    let library = made.path().join("libcount.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).args([&library, &source]);
    assert!(compiler.status().unwrap().success());
    let content = std::fs::read(&library).unwrap();
    let index = Index::start(&[], &[], None);
    let library = content.as_slice();
    let files = |package: &'static str| {
        let paths =
            ["__init__.py", "libcount.so", "vendored/libcount.so.1", "vendored/libcount.so"];
        let content = |path: &str| if path.ends_with("py") { b"".as_slice() } else { library };
        let leaked = |path: &str| -> &'static str { format!("{package}/{path}").leak() };
        paths.map(|path| (leaked(path), content(path))).to_vec()
    };
    index.add_wheels(&[("first", "1.0", files("first")), ("second", "1.0", files("second"))]);
    let instance = Instance::start(&Options {
        variables: vec![("UV_DEFAULT_INDEX", index.url(""))],
        ..Options::default()
    });
    instance.ok(&["env", "add", "both", "first", "second"]);
    instance.ok(&["env", "add", "one", "second"]);
    let site =
        |env: &str| instance.mount().join(format!("envs/{env}/lib/python3.11/site-packages"));
    let script = "import ctypes, sys
paths = [f'{package}/{path}libcount.so{suffix}' for package in ('first', 'second')
         for path, suffix in (('', ''), ('vendored/', '.1'), ('vendored/', ''))]
libraries = [ctypes.CDLL(f'{sys.argv[1]}/{path}') for path in paths]
print([[library.next() for _ in range(2)] for library in libraries])
print([open(f'{sys.argv[1]}/{path}', 'rb').read() == open(sys.argv[2], 'rb').read() for path in paths])";
    let output = Command::new(instance.mount().join("envs/both/bin/python"))
        .args(["-c", script])
        .args([site("both"), made.path().join("libcount.so")])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told, format!("{:?}\n[{}]\n", [[1, 2]; 6], ["True"; 6].join(", ")), "{output:?}");
    // Each path is the same file in all environments, also where it is a further one in some.
    let inode = |env: &str, path: &str| std::fs::metadata(site(env).join(path)).unwrap().ino();
    for path in ["second/libcount.so", "second/vendored/libcount.so"] {
        assert_eq!(inode("both", path), inode("one", path));
    }
}

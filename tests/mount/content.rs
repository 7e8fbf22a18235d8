//! Views hold what uv would have installed.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use super::peer::{run, same_as_uv};
use crate::harness::shared;
use crate::tests;

tests!(
    every_file_is_what_uv_installs,
    bytecode_is_valid_whatever_the_time,
    an_ordinary_python_uses_it,
    nothing_in_it_can_be_changed,
);

fn every_file_is_what_uv_installs() {
    let instance = shared();
    let compared = same_as_uv(&instance, "science", &[]);
    assert!(compared > 2000, "only {compared} files compared");
}

fn bytecode_is_valid_whatever_the_time() {
    let instance = shared();
    let site = instance.mount().join("envs/science/lib/python3.11/site-packages");
    let cached = site.join("pandas/__pycache__/__init__.cpython-311.pyc");
    let bytes = std::fs::read(cached).unwrap();
    assert_eq!(bytes[4..8], 1_u32.to_le_bytes(), "unchecked-hash");
    let python = instance.mount().join("envs/science/bin/python");
    let script = "
import sys
import pandas, requests
from importlib import _bootstrap_external as b
packages = [m for m in list(sys.modules.values()) if getattr(m, '__file__', None) and '/envs/' in m.__file__ and m.__file__.endswith('.py')]
assert len(packages) > 300, len(packages)
for m in packages:
    flags = b._classify_pyc(open(m.__cached__, 'rb').read(), m.__name__, {})
    assert flags == 1, m
print('valid')
";
    assert_eq!(run(Command::new(python).args(["-I", "-c", script])), "valid\n");
}

fn an_ordinary_python_uses_it() {
    let instance = shared();
    let view = instance.mount().join("envs/science");
    let script = "import pandas, importlib.metadata as m, sys; print(pandas.__file__, m.version('pandas') == pandas.__version__)";
    let file = view.join("lib/python3.11/site-packages/pandas/__init__.py");
    let expected = format!("{} True\n", file.display());
    assert_eq!(run(Command::new(view.join("bin/python")).args(["-c", script])), expected);
    let site = view.join("lib/python3.11/site-packages");
    let plain = run(Command::new("python3").args(["-c", script]).env("PYTHONPATH", site));
    assert_eq!(plain, expected);
    // Console scripts, and the folder of each distribution.
    assert!(run(Command::new(view.join("bin/f2py")).arg("-v")).starts_with('2'));
    let dists = std::fs::read_dir(instance.mount().join("dists")).unwrap();
    let names: Vec<_> = dists.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let pandas = names.iter().find(|name| name.starts_with("pandas-")).unwrap();
    let alone = instance.mount().join("dists").join(pandas).join("lib/python3.11/site-packages");
    assert!(alone.join("pandas/__init__.py").exists() && !alone.join("numpy").exists());
}

fn nothing_in_it_can_be_changed() {
    let instance = shared();
    let site = instance.mount().join("envs/science/lib/python3.11/site-packages");
    let file = site.join("pandas/__init__.py");
    let read_only = |result: std::io::Result<()>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{error}");
    };
    read_only(std::fs::write(&file, "x"));
    read_only(std::fs::write(site.join("new.py"), "x"));
    read_only(std::fs::remove_file(&file));
    read_only(std::fs::create_dir(site.join("new")));
    read_only(std::fs::rename(&file, site.join("pandas/other.py")));
    read_only(std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o777)));
    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (0, 0, 0o644));
}

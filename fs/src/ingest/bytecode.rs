//! Bytecode of what was unpacked.
//!
//! It is made by an interpreter that runs nothing of it, and that sees one distribution: what breaks the
//! compiler changes no other, and not even its own sources, which are there to be read alone.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::AddError;
use super::confine::{Bind, Confine, Input, Job};
use crate::FIXED_PREFIX;
use crate::interpreter::Interpreter;

/// Compiles what is below a folder.
const COMPILER: &str = include_str!("bytecode.py");
/// Longest time that compiling may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Where a job leaves it.
const OUT_INSIDE: &str = "/pipsqueak/bytecode";

/// Makes the bytecode of all that is installed in `environment`, running nothing of it, below the empty
/// folder `out`.
pub fn compile(
    confine: &dyn Confine,
    interpreter: &Interpreter,
    environment: &Path,
    out: &Path,
) -> Result<(), AddError> {
    let mut argv = vec![interpreter.executable.clone().into_os_string()];
    argv.extend(["-I", "-S", "-W", "ignore", "-c", COMPILER].map(OsString::from));
    let packages = interpreter.site_packages();
    argv.extend([FIXED_PREFIX, OUT_INSIDE].map(|root| Path::new(root).join(&packages).into()));
    let job = Job {
        label: "compiling".to_owned(),
        argv,
        variables: [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8")]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
        binds: vec![
            Bind { host: environment.to_owned(), inside: FIXED_PREFIX.into(), writable: false },
            Bind { host: out.to_owned(), inside: OUT_INSIDE.into(), writable: true },
        ],
        network: None,
        input: Input::default(),
        directory: "/tmp".into(),
        timeout: PATIENCE,
    };
    let output = confine.run(&job)?;
    if output.status == 0 {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let explanation = format!("{} (status {})", said.trim(), output.status);
    Err(AddError::Bytecode { explanation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    /// Fails unless importing `module` from the folder runs its bytecode, whatever its source is now.
    const CHECK: &str = "
import sys
sys.path.insert(0, sys.argv[1])
import package.module as module
assert module.x == 1, module.x
assert module.__file__.endswith('module.py'), module.__file__
assert module.f.__code__.co_filename == module.__file__, module.f.__code__
";

    #[test]
    fn what_can_be_compiled_is_and_stays_valid() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("package");
        let cache = package.join("__pycache__");
        fs::create_dir_all(&package).unwrap();
        let write = |name: &str, text: &str| fs::write(package.join(name), text).unwrap();
        write("module.py", "x = 1\ndef f(): pass\n");
        write("other.py", "print 'of another Python'\n");
        write("latin.py", "s = '\u{fffd}'\0");
        std::os::unix::fs::symlink("/nowhere", package.join("dangling.py")).unwrap();
        let python = |arguments: &[&str], out: Option<&Path>| {
            let mut command = Command::new("python3");
            command.args(["-I", "-S", "-B"]).args(arguments).arg(folder.path()).args(out);
            assert!(command.status().unwrap().success(), "{arguments:?}");
        };
        let tag = "import sys; print(sys.implementation.cache_tag)";
        let tag = Command::new("python3").args(["-c", tag]).output().unwrap().stdout;
        let tag = String::from_utf8(tag).unwrap().trim().to_owned();
        let out = tempfile::tempdir().unwrap();
        python(&["-c", COMPILER], Some(out.path()));
        assert!(!cache.exists());
        fs::rename(out.path().join("package/__pycache__"), &cache).unwrap();
        let made: Vec<_> =
            fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(made, [format!("module.{tag}.pyc").as_str()]);
        write("module.py", "x = 2\n");
        python(&["-c", CHECK], None);
    }
}

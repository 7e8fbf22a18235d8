//! Bytecode of what was installed.
//!
//! It is not made by uv, which does it with the environment's own interpreter: that runs the `.pth`
//! files of all that was installed, which could then change each other.

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

/// Makes the bytecode of all that is installed in `environment`, running nothing of it.
pub fn compile(
    confine: &dyn Confine,
    interpreter: &Interpreter,
    environment: &Path,
) -> Result<(), AddError> {
    let mut argv = vec![interpreter.executable.clone().into_os_string()];
    argv.extend(["-I", "-S", "-W", "ignore", "-c", COMPILER].map(OsString::from));
    argv.push(Path::new(FIXED_PREFIX).join(interpreter.site_packages()).into());
    let job = Job {
        label: "compiling".to_owned(),
        argv,
        variables: [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8")]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
        binds: vec![Bind {
            host: environment.to_owned(),
            inside: FIXED_PREFIX.into(),
            writable: true,
        }],
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
    use std::os::unix::fs::PermissionsExt;
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
        fs::create_dir_all(&cache).unwrap();
        let write = |name: &str, text: &str| fs::write(package.join(name), text).unwrap();
        write("module.py", "x = 1\ndef f(): pass\n");
        write("other.py", "print 'of another Python'\n");
        write("latin.py", "s = '\u{fffd}'\0");
        std::os::unix::fs::symlink("/nowhere", package.join("dangling.py")).unwrap();
        let python = |arguments: &[&str]| {
            let mut command = Command::new("python3");
            command.args(["-I", "-S", "-B"]).args(arguments).arg(folder.path());
            assert!(command.status().unwrap().success(), "{arguments:?}");
        };
        let tag = "import sys; print(sys.implementation.cache_tag)";
        let tag = Command::new("python3").args(["-c", tag]).output().unwrap().stdout;
        let tag = String::from_utf8(tag).unwrap().trim().to_owned();
        // Of a wheel: for a source that was another, and that nobody may write.
        for brought in ["module", "other"] {
            let brought = cache.join(format!("{brought}.{tag}.pyc"));
            fs::write(&brought, "brought").unwrap();
            fs::set_permissions(&brought, fs::Permissions::from_mode(0o444)).unwrap();
        }
        python(&["-c", COMPILER]);
        let made: Vec<_> = fs::read_dir(&cache).unwrap().flatten().collect();
        assert_eq!(made.len(), 1, "{made:?}");
        write("module.py", "x = 2\n");
        python(&["-c", CHECK]);
    }
}

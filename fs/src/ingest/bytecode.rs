//! Bytecode of what was unpacked.
//!
//! Bytecode is made by an interpreter that runs nothing of it, and that sees one distribution: what
//! breaks the compiler changes no other, and not even its own sources, which are there to be read alone.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::FIXED_PREFIX;
use crate::ingest::AddError;
use crate::ingest::confine::{Bind, Confine, Input, Job, Stop};
use crate::interpreter::Interpreter;

/// Compiles what is below a folder.
const COMPILER: &str = include_str!("bytecode.py");
/// Longest time that compiling may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Folder in which a job leaves bytecode.
const OUT_INSIDE: &str = "/pipsqueak/bytecode";

/// Folders of sources that importing a package does not come to, as `bytecode.py` has them.
const LATE: [&str; 2] = ["test", "tests"];
/// Late sources of one distribution that are worth a job of their own.
const MANY_LATE: usize = 100;

/// A part of a distribution's sources that one job compiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All.
    All,
    /// The sources that imports may read.
    Early,
    /// Tests, which can be compiled while imports are traced.
    Late,
}

impl Share {
    /// The shares that sources with these paths are compiled in, one after the other.
    pub fn of<'a>(sources: impl Iterator<Item = &'a str>) -> &'static [Self] {
        let (late, early): (Vec<_>, Vec<_>) = sources.partition(|path| is_late(path));
        match (early.len(), late.len()) {
            (0, 0) => &[],
            (0, _) => &[Self::Late],
            (_, MANY_LATE..) => &[Self::Early, Self::Late],
            _ => &[Self::All],
        }
    }

    /// True if the source at `path` is a part of it.
    #[cfg(test)]
    fn has(self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Early => !is_late(path),
            Self::Late => is_late(path),
        }
    }

    /// Name of it, as `bytecode.py` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Early => "early",
            Self::Late => "late",
        }
    }
}

fn is_late(path: &str) -> bool {
    path.rsplit_once('/')
        .is_some_and(|(folder, _)| folder.split('/').any(|part| LATE.contains(&part)))
}

/// Makes the bytecode of a share of what is installed in `environment`, running nothing of it, below the
/// empty folder `out`.
pub fn compile(
    confine: &dyn Confine,
    interpreter: &Interpreter,
    environment: &Path,
    out: &Path,
    (share, stop): (Share, &Stop),
) -> Result<(), AddError> {
    let mut argv = vec![interpreter.executable.clone().into_os_string()];
    argv.extend(["-I", "-S", "-W", "ignore", "-c", COMPILER].map(OsString::from));
    let packages = interpreter.site_packages();
    argv.extend([FIXED_PREFIX, OUT_INSIDE].map(|root| Path::new(root).join(&packages).into()));
    argv.push(share.name().into());
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
        stop: stop.clone(),
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
        let python = |arguments: &[&str], out: Option<&Path>, share: Option<Share>| {
            let mut command = Command::new("python3");
            command.args(["-I", "-S", "-B"]).args(arguments).arg(folder.path()).args(out);
            command.args(share.map(Share::name));
            assert!(command.status().unwrap().success(), "{arguments:?}");
        };
        let tag = "import sys; print(sys.implementation.cache_tag)";
        let tag = Command::new("python3").args(["-c", tag]).output().unwrap().stdout;
        let tag = String::from_utf8(tag).unwrap().trim().to_owned();
        let out = tempfile::tempdir().unwrap();
        python(&["-c", COMPILER], Some(out.path()), Some(Share::All));
        assert!(!cache.exists());
        fs::rename(out.path().join("package/__pycache__"), &cache).unwrap();
        let made: Vec<_> =
            fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(made, [format!("module.{tag}.pyc").as_str()]);
        write("module.py", "x = 2\n");
        python(&["-c", CHECK], None, None);
    }

    #[test]
    fn shares_are_those_of_the_compiler() {
        let folder = tempfile::tempdir().unwrap();
        let paths =
            ["a.py", "p/a.py", "p/tests/a.py", "p/test/x/a.py", "tests.py", "p/my_tests/a.py"];
        for path in paths {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut made = Vec::new();
        for share in [Share::Early, Share::Late, Share::All] {
            let out = tempfile::tempdir().unwrap();
            let mut command = Command::new("python3");
            command.args(["-I", "-S", "-c", COMPILER]).args([folder.path(), out.path()]);
            assert!(command.arg(share.name()).status().unwrap().success());
            let is_made = |path: &str| {
                let path = out.path().join(path);
                fs::read_dir(path.parent().unwrap().join("__pycache__")).is_ok_and(|mut made| {
                    let stem = path.file_stem().unwrap().to_str().unwrap().to_owned() + ".";
                    made.any(|one| one.unwrap().file_name().to_str().unwrap().starts_with(&stem))
                })
            };
            made.push(paths.map(|path| is_made(path) == share.has(path)));
        }
        assert_eq!(made, [[true; 6]; 3]);
        assert_eq!(
            paths.map(|path| Share::Late.has(path)),
            [false, false, true, true, false, false]
        );
        assert_eq!(Share::of(paths.into_iter()), [Share::All]);
        let many = vec!["p/tests/a.py"; MANY_LATE];
        assert_eq!(Share::of(many.iter().copied()), [Share::Late]);
        assert_eq!(Share::of(many.iter().copied().chain(["a.py"])), [Share::Early, Share::Late]);
        assert!(Share::of([].into_iter()).is_empty());
    }
}

//! The Python side of sandboxes: its installation, and the command that starts an interpreter with it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::{ENVIRONMENT, RUNTIME};

const PACKAGE: &str = "pipsqueak_runtime";
/// Folder of modules that every function can import, unless its environment has a module of the same name.
const PROVIDED: &str = "provided";
const NATIVE: &str = "pipsqueak_native";
/// Library that records the variables which a zygote's imports read from C.
const GETENV: &str = "pipsqueak_getenv";

macro_rules! modules {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../runtime/", $name)))),*]
    };
}

const MODULES: &[(&str, &str)] = &modules!(
    "pipsqueak_runtime/__init__.py",
    "pipsqueak_runtime/__main__.py",
    "pipsqueak_runtime/asgi.py",
    "pipsqueak_runtime/concurrency.py",
    "pipsqueak_runtime/context.py",
    "pipsqueak_runtime/environment.py",
    "pipsqueak_runtime/event_loop.py",
    "pipsqueak_runtime/failure.py",
    "pipsqueak_runtime/files.py",
    "pipsqueak_runtime/forked.py",
    "pipsqueak_runtime/function.py",
    "pipsqueak_runtime/handler.py",
    "pipsqueak_runtime/hazards.py",
    "pipsqueak_runtime/http_event.py",
    "pipsqueak_runtime/json_text.py",
    "pipsqueak_runtime/news.py",
    "pipsqueak_runtime/order.py",
    "pipsqueak_runtime/output.py",
    "pipsqueak_runtime/own.py",
    "pipsqueak_runtime/preload.py",
    "pipsqueak_runtime/protocol.py",
    "pipsqueak_runtime/reads.py",
    "pipsqueak_runtime/rehearsal.py",
    "pipsqueak_runtime/replaced.py",
    "pipsqueak_runtime/serving.py",
    "pipsqueak_runtime/snapshot.py",
    "pipsqueak_runtime/standby.py",
    "pipsqueak_runtime/streaming.py",
    "pipsqueak_runtime/uniqueness.py",
    "pipsqueak_runtime/wsgi.py",
    "pipsqueak_runtime/zygote.py",
    "provided/snapshot_restore_py.py"
);

/// Role of an interpreter in a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Imports packages and forks.
    Zygote,
    /// Runs a handler.
    Function,
}

/// Puts the runtime into `folder`, readable by everybody, with bytecode for `python`.
pub fn install(folder: &Path, python: &Path) -> io::Result<()> {
    let getenv = library(GETENV)?;
    let packages = [folder.join(PACKAGE), folder.join(PROVIDED)];
    let _ = fs::remove_dir_all(folder);
    packages.iter().try_for_each(fs::create_dir_all)?;
    for (name, text) in MODULES {
        fs::write(folder.join(name), text)?;
    }
    fs::copy(library(NATIVE)?, native(folder))?;
    fs::copy(getenv, folder.join(format!("{GETENV}.so")))?;
    for path in packages.iter().map(PathBuf::as_path).chain([folder]) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    // The bytecode names its path in sandboxes and is never checked, so no start writes it again.
    let compiled = Command::new(python)
        .args(["-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"])
        .arg("-s")
        .arg(folder)
        .args(["-p", RUNTIME])
        .args(&packages)
        .status()?;
    if !compiled.success() {
        return Err(io::Error::other(format!(
            "{} could not compile {}: {compiled}",
            python.display(),
            folder.display()
        )));
    }
    Ok(())
}

/// The native part of the runtime that is in `folder`.
pub fn native(folder: &Path) -> PathBuf {
    folder.join(format!("{NATIVE}.abi3.so"))
}

/// Path of a library, which is built beside the supervisor.
fn library(name: &str) -> io::Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let path = executable.with_file_name(format!("lib{name}.so"));
    if path.exists() {
        return Ok(path);
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("{} is missing; build the whole workspace: cargo build --release", path.display()),
    ))
}

impl Role {
    /// Name of the role, as the runtime is told it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zygote => "zygote",
            Self::Function => "function",
        }
    }
}

/// Program and arguments that start an environment's interpreter in a sandbox. `own` are the function's
/// variables.
pub fn arguments(role: Role, own: &BTreeMap<String, String>) -> Vec<String> {
    let mut arguments = vec![format!("{ENVIRONMENT}/bin/python")];
    // In isolated mode an interpreter ignores all variables.
    let is_told = own.keys().any(|name| name.starts_with("PYTHON"));
    arguments.push(if is_told { "-s" } else { "-I" }.to_owned());
    if !own.contains_key("PYTHONUTF8") {
        arguments.extend(["-X", "utf8"].map(ToOwned::to_owned));
    }
    arguments.push(format!("{RUNTIME}/{PACKAGE}/__main__.py"));
    arguments.push(role.name().to_owned());
    arguments
}

/// Environment variables of every interpreter in a sandbox.
pub const VARIABLES: [(&str, &str); 4] = [
    ("PATH", "/pipsqueak/env/bin:/usr/local/bin:/usr/bin:/bin"),
    ("VIRTUAL_ENV", ENVIRONMENT),
    ("HOME", "/tmp"),
    ("LANG", "C.UTF-8"),
];

/// Environment variables of an interpreter in a sandbox. A function's `own` variables win. True in
/// `is_recorded` makes the interpreter record the variables that C code reads.
pub fn variables(own: &BTreeMap<String, String>, is_recorded: bool) -> Vec<(String, String)> {
    let all = VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut variables = BTreeMap::from(all);
    variables.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
    if is_recorded {
        // The library removes this variable again.
        variables.insert("LD_PRELOAD".to_owned(), format!("{RUNTIME}/{GETENV}.so"));
    }
    variables.into_iter().collect()
}

//! One environment twice: in the mount, and copied out of it to an ordinary folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Failure;
use crate::instance::{Instance, milliseconds};

/// Packages, each with the module that a program would import.
pub const IMPORTS: [(&str, &str); 6] = [
    ("requests", "requests"),
    ("flask", "flask"),
    ("numpy", "numpy"),
    ("pandas", "pandas"),
    ("boto3", "boto3"),
    ("scikit-learn", "sklearn.ensemble"),
];

/// An environment in the mount and in a folder.
#[derive(Debug)]
pub struct Sides {
    /// The instance that serves the mount.
    pub instance: Instance,
    mounted: PathBuf,
    copied: PathBuf,
}

impl Sides {
    /// Starts an instance, makes the environment and copies it.
    pub fn prepare(packages: &[&str]) -> Result<Self, Failure> {
        let instance = Instance::start("ssd")?;
        instance.call(&[&["env", "add", "bench"], packages].concat())?;
        let mounted = instance.view("bench");
        let copied = instance.folder().join("copied");
        // What the name leads to, and not the link.
        let from = mounted.join(".");
        let status = Command::new("cp").arg("-a").args([&from, &copied]).status()?;
        if !status.success() {
            return Err(format!("copying {} ended with {status}", mounted.display()).into());
        }
        Ok(Self { instance, mounted, copied })
    }

    /// The environment's root in the mount.
    pub fn mounted(&self) -> &Path {
        &self.mounted
    }

    /// The copy's root.
    pub fn copied(&self) -> &Path {
        &self.copied
    }

    /// Ends the server of the mount and waits for the next one.
    pub fn restart_server(&self) -> Result<(), Failure> {
        let before = self.instance.status()?.mount;
        let pid = before.pid.ok_or("nothing serves the mount")?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if self.instance.status()?.mount.successions > before.successions {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err("no successor serves the mount".into())
    }
}

/// Milliseconds that an interpreter takes to start, import a module and end.
pub fn import(root: &Path, module: &str) -> Result<f64, Failure> {
    let began = Instant::now();
    let code = format!("import {module}");
    let status = Command::new(root.join("bin/python")).args(["-c", &code]).status()?;
    if status.success() {
        Ok(milliseconds(began.elapsed()))
    } else {
        Err(format!("`{code}` in {} ended with {status}", root.display()).into())
    }
}

/// Writes all dirty data to disk and drops the kernel's caches of files.
pub fn drop_caches() -> Result<(), Failure> {
    nix::unistd::sync();
    Ok(std::fs::write("/proc/sys/vm/drop_caches", "3")?)
}

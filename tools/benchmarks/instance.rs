//! A private instance to measure, and ordinary environments to compare it with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pipsqueak::client::Client;
use pipsqueak::wire::{Evict, Invocation, Reply, Request, Status};
use serde_json::value::RawValue;

use crate::Failure;

/// An instance in a temporary folder; stopped when dropped.
#[derive(Debug)]
pub struct Instance {
    folder: tempfile::TempDir,
    downloads: Option<PathBuf>,
}

impl Instance {
    /// Starts an instance with some tiers, such as `paused,zygote,ssd` or `none`.
    pub fn start(tiers: &str) -> Result<Self, Failure> {
        Self::start_with(&["--tiers", tiers], None)
    }

    /// Starts an instance with flags of `up`, and with a folder for downloads if they should outlive it.
    pub fn start_with(flags: &[&str], downloads: Option<&Path>) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("pipsqueak-bench-").tempdir()?;
        let instance = Self { folder, downloads: downloads.map(ToOwned::to_owned) };
        instance.call(&[&["up"], flags].concat())?;
        Ok(instance)
    }

    /// A folder for files of the benchmark's own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the state.
    pub fn state(&self) -> PathBuf {
        self.folder().join("state")
    }

    /// The view of an environment.
    pub fn view(&self, environment: &str) -> PathBuf {
        self.folder().join("packages/envs").join(environment)
    }

    /// Runs a command of the invoker.
    pub fn call(&self, arguments: &[&str]) -> Result<(), Failure> {
        let downloads = self.downloads.clone().unwrap_or_else(|| self.folder().join("cache"));
        let output = Command::new("pipsqueak")
            .args(arguments)
            .env("PIPSQUEAK_STATE", self.folder().join("state"))
            .env("PIPSQUEAK_RUN", self.folder().join("run"))
            .env("PIPSQUEAK_MOUNT", self.folder().join("packages"))
            .env("PIPSQUEAK_CACHE", downloads)
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("pipsqueak {arguments:?}: {}", said.trim()).into())
    }

    /// Deploys a function of one file.
    pub fn deploy(&self, name: &str, code: &str, flags: &[&str]) -> Result<(), Failure> {
        let path = self.folder().join(format!("{}.py", name.replace('-', "_")));
        std::fs::write(&path, code)?;
        let path = path.to_str().ok_or("the temporary folder is not UTF-8")?;
        self.call(&[&["deploy", name, path], flags].concat())
    }

    /// Sends a request over a new connection, as each call of the invoker does.
    pub fn request(&self, request: &Request) -> Result<Reply, Failure> {
        let mut client = Client::connect(&self.folder().join("run"))?;
        Ok(client.call(request, &mut |_| {})?)
    }

    /// Invokes a function; returns the answer, and the time that it took for the caller.
    pub fn invoke(&self, function: &str) -> Result<(Invocation, Duration), Failure> {
        let payload = RawValue::from_string("{}".to_owned())?;
        let request = Request::Invoke { function: function.to_owned(), payload, deadline_ms: None };
        let began = Instant::now();
        match self.request(&request)? {
            Reply::Invocation(invocation) => Ok((invocation, began.elapsed())),
            other => Err(format!("unexpected answer {other:?}").into()),
        }
    }

    /// The reason why a function starts as it does, in a few words.
    pub fn explain(&self, function: &str) -> Result<String, Failure> {
        match self.request(&Request::Explain { function: function.to_owned() })? {
            Reply::Explanation(one) => {
                let unsafe_modules = one.unsafe_modules.iter();
                let reasons = unsafe_modules.map(|one| format!("{}: {}", one.module, one.reason));
                let verdicts = one.zygotes.iter().map(|one| one.reason.clone());
                Ok(one
                    .unlike
                    .into_iter()
                    .chain(reasons)
                    .chain(verdicts)
                    .collect::<Vec<_>>()
                    .join("; "))
            }
            other => Err(format!("unexpected answer {other:?}").into()),
        }
    }

    /// Drops paused sandboxes.
    pub fn evict_paused(&self) -> Result<(), Failure> {
        self.request(&Request::Evict(Evict { function: None, paused: true, zygotes: false }))?;
        Ok(())
    }

    /// The status of the instance.
    pub fn status(&self) -> Result<Status, Failure> {
        match self.request(&Request::Status)? {
            Reply::Status(status) => Ok(status),
            other => Err(format!("unexpected answer {other:?}").into()),
        }
    }

    /// The server of the mount and its child processes.
    pub fn servers(&self) -> Result<Vec<u32>, Failure> {
        let server = self.status()?.mount.pid.ok_or("nothing serves the mount")?;
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"))?;
        let children = children.split_whitespace().map(|pid| Ok(pid.parse()?));
        [Ok(server)].into_iter().chain(children).collect()
    }

    /// Waits until there is at least one zygote and all are ready.
    pub fn await_zygotes(&self) -> Result<(), Failure> {
        let until = Instant::now() + Duration::from_secs(120);
        while Instant::now() < until {
            let status = self.status()?;
            if !status.zygotes.is_empty() && !status.growing {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("no zygote within two minutes".into())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Where the benchmark has stopped it itself, there is nobody to talk to.
        if Client::connect(&self.folder().join("run")).is_ok()
            && let Err(error) = self.call(&["down"])
        {
            eprintln!("bench: {error}");
        }
    }
}

/// The uv to compare with, with a folder of downloads of its own.
pub fn uv(downloads: &Path) -> Command {
    let mut uv = Command::new(std::env::var_os("PIPSQUEAK_UV").unwrap_or_else(|| "uv".into()));
    // Whether the user's is on another file system must not matter.
    uv.env("UV_CACHE_DIR", downloads).env("UV_NO_CONFIG", "1").env("UV_NO_PROGRESS", "1");
    uv
}

/// Runs a command that must succeed; the error holds its other output.
pub fn succeed(command: &mut Command) -> Result<(), Failure> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// Makes an ordinary environment of some packages with bytecode, by uv; returns its interpreter.
pub fn plain_environment(folder: &Path, packages: &[&str]) -> Result<PathBuf, Failure> {
    let uv = std::env::var_os("PIPSQUEAK_UV").unwrap_or_else(|| "uv".into());
    let python = folder.join("bin/python");
    let mut venv = Command::new(&uv);
    venv.args(["venv", "--quiet", "--no-config"]).arg(folder);
    let mut install = Command::new(&uv);
    install.args(["pip", "install", "--quiet", "--compile-bytecode", "--link-mode", "copy"]);
    // Not the user's cache, which this would leave something in.
    install.arg("--cache-dir").arg(folder.with_extension("downloads"));
    install.arg("--python").arg(&python).args(packages);
    for mut command in [venv, install] {
        let status = command.status()?;
        if !status.success() {
            return Err(format!("{command:?} ended with {status}").into());
        }
    }
    Ok(python)
}

/// A duration in milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

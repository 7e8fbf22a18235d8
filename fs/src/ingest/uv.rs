//! uv: resolves, downloads, verifies, installs. The only file that knows how it is called.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::archives::STRATEGY;
use super::confine::{Bind, Confine, Job, JobOutput};
use super::heard::Heard;
use super::index::Index;
use super::lock::{self, BUILT_INSIDE, Locked, Source};
use super::wanted::Wanted;
use super::{AddError, Step, bytecode, credentials};
use crate::FIXED_PREFIX;
use crate::interpreter::Interpreter;

const UV_INSIDE: &str = "/pipsqueak/uv/uv";
const CACHE_INSIDE: &str = "/pipsqueak/cache";
/// Where a job sees its work folder.
pub(super) const WORK_INSIDE: &str = "/pipsqueak/work";

/// Longest time that resolving or installing may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Variables of the supervisor's environment that uv is given: where the index is and how to
/// trust it, besides those that begin with `UV_`. Their values may hold credentials: they are never
/// logged nor stored.
const PASSED_ON: [&str; 8] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
];

/// What uv says when it is not the request that is wrong.
const NOT_THE_REQUEST: [&str; 6] = [
    "Failed to fetch",
    "error sending request",
    "Request failed",
    "dns error",
    "Could not connect",
    "No space left on device",
];

/// How uv says that a package is there as source alone, around its name.
const NO_WHEEL: (&str, &str) = ("Wheels are required for `", "` because building from source");

/// uv, for one interpreter and one folder of downloads.
#[derive(Debug, Clone, Copy)]
pub struct Uv<'a> {
    /// Its executable.
    pub binary: &'a Path,
    /// Where downloads are kept; not at all where it is absent.
    pub cache: Option<&'a Path>,
    /// The interpreter that packages are for.
    pub interpreter: &'a Interpreter,
    /// The interpreter that uv works with: the same, where that is on this machine.
    pub host: &'a Interpreter,
    /// A folder for inputs, of this use alone.
    pub work: &'a Path,
    /// Wheels that were built here, where they may be chosen: see [`super::source`].
    pub built: Option<&'a Path>,
    /// Where packages are, where that is not said by variables.
    pub index: &'a Index,
}

impl Uv<'_> {
    /// Resolves requirements, with the versions of the lock `preferred` where they allow it; the
    /// text of a lock.
    pub fn resolve(
        &self,
        confine: &dyn Confine,
        wanted: &Wanted,
        preferred: &str,
    ) -> Result<String, AddError> {
        let requirements = self.input("requirements.txt", &wanted.requirements.join("\n"))?;
        let mut arguments = self.arguments(&["pip", "compile", "--format", "pylock.toml"]);
        arguments.extend(["--no-header", "--only-binary", ":all:"].map(Into::into));
        arguments.extend(["--python".into(), self.host.executable.clone().into()]);
        arguments.extend(self.python_version());
        arguments.extend(self.constraints(wanted)?);
        arguments.extend(self.links()?);
        // An output that is there already is what uv prefers to keep.
        arguments.extend(["--output-file".into(), self.input("pylock.toml", preferred)?]);
        arguments.push(requirements);
        let mut job = self.job("resolving", arguments, None);
        self.lead(wanted, &mut job)?;
        let output = confine.run(&job)?;
        if output.status != 0 {
            let said = String::from_utf8_lossy(&output.stderr);
            let after = said.split_once(NO_WHEEL.0).map(|(_, after)| after);
            let failure = failure("resolve the requirements", &output, &self.secrets());
            return Err(match after.and_then(|after| after.split_once(NO_WHEEL.1)) {
                Some((package, _)) => AddError::NoWheel {
                    package: package.to_owned(),
                    explanation: failure.to_string(),
                },
                None => failure,
            });
        }
        text(output)
    }

    /// Where the source is of the version of `package` that suits what is wanted. Runs nothing of
    /// it: without what it depends on uv has no need of its metadata.
    pub fn find_source(
        &self,
        confine: &dyn Confine,
        wanted: &Wanted,
        package: &str,
    ) -> Result<Source, AddError> {
        let mut lines = wanted.lines_of(package);
        if lines.iter().any(|line| line.contains('@')) {
            return Err(AddError::unsatisfiable(format!(
                "{package} is an address of a source, which is not built; name a version in an index"
            )));
        }
        lines.push(package.to_owned());
        lines.extend(wanted.options().map(ToOwned::to_owned));
        let requirements = self.input("source.txt", &lines.join("\n"))?;
        let mut arguments = self.arguments(&["pip", "compile", "--format", "pylock.toml"]);
        arguments.extend(["--no-header", "--no-deps", "--no-binary", package].map(Into::into));
        arguments.extend(["--python".into(), self.host.executable.clone().into()]);
        arguments.extend(self.python_version());
        arguments.extend(self.constraints(wanted)?);
        arguments.push(requirements);
        let output =
            confine.run(&self.job("looking for a source distribution", arguments, None))?;
        if output.status != 0 {
            return Err(failure("find a source distribution", &output, &self.secrets()));
        }
        lock::source(&text(output)?, package)
    }

    /// Installs what building takes into `environment`.
    pub fn install_for_building(
        &self,
        confine: &dyn Confine,
        requires: &[String],
        environment: &Path,
    ) -> Result<(), AddError> {
        self.install(confine, requires, None, environment, Vec::new(), &mut |_| {})
    }

    /// Builds a wheel of an archive in the work folder, into `out` there, with what is installed in
    /// `environment`: without a network, and seeing neither downloads nor where an index is.
    pub fn build(
        &self,
        confine: &dyn Confine,
        archive: &Path,
        environment: &Path,
    ) -> Result<JobOutput, AddError> {
        let alone = Self { cache: None, ..*self };
        let mut arguments = alone.arguments(&["build", "--wheel", "--offline"]);
        arguments.extend(["--no-build-isolation", "--python"].map(Into::into));
        arguments.push(format!("{FIXED_PREFIX}/bin/python").into());
        arguments.extend(["--out-dir".into(), format!("{WORK_INSIDE}/out").into()]);
        arguments.push(archive.into());
        let mut job = alone.job("building a wheel", arguments, Some(environment));
        job.network = false;
        job.variables = fixed_variables();
        Ok(confine.run(&job)?)
    }

    /// Installs what was chosen of what is wanted, each with its hashes, into `target`, and compiles
    /// it. `told` hears how far it is.
    pub fn install_locked(
        &self,
        confine: &dyn Confine,
        wanted: &Wanted,
        chosen: &[&Locked],
        target: &Path,
        told: &mut dyn FnMut(Step),
    ) -> Result<(), AddError> {
        let lines = wanted.options().map(ToOwned::to_owned);
        let lines: Vec<_> = lines.chain(chosen.iter().map(|one| one.requirement())).collect();
        let flags = ["--no-deps", "--require-hashes"].map(Into::into).to_vec();
        let mut heard = Heard::of(chosen.len() as u64);
        self.install(confine, &lines, Some(wanted), target, flags, &mut |line| {
            heard.line(line).into_iter().for_each(&mut *told);
        })?;
        if self.interpreter.is_present {
            told(Step::begun("compiling"));
            return bytecode::compile(confine, self.interpreter, target);
        }
        // uv has installed it where packages of the interpreter are that it has worked with.
        let place = |python: &Interpreter| target.join("lib").join(python.library());
        let to = place(self.interpreter);
        fs::rename(place(self.host), &to).map_err(AddError::at(&to))
    }

    /// Resolves and installs requirements into `target`, without bytecode.
    pub fn install_plain(
        &self,
        confine: &dyn Confine,
        wanted: &Wanted,
        target: &Path,
    ) -> Result<(), AddError> {
        let mut flags = self.constraints(wanted)?;
        if wanted.is_hashed() {
            flags.push("--require-hashes".into());
        }
        self.install(confine, &wanted.requirements, Some(wanted), target, flags, &mut |_| {})
    }

    /// The flags that keep uv to the constraints.
    fn constraints(&self, wanted: &Wanted) -> Result<Vec<OsString>, AddError> {
        let mut flags = Vec::new();
        if !wanted.constraints.is_empty() {
            let file = self.input("constraints.txt", &wanted.constraints.join("\n"))?;
            flags.extend(["--constraints".into(), file]);
        }
        if wanted.is_complete {
            flags.push("--no-deps".into());
        }
        if wanted.options().any(|option| option == "--pre") {
            flags.extend(["--prerelease", "allow"].map(Into::into));
        }
        Ok(flags)
    }

    fn install(
        &self,
        confine: &dyn Confine,
        requirements: &[String],
        wanted: Option<&Wanted>,
        target: &Path,
        flags: Vec<OsString>,
        heard: &mut dyn FnMut(&str),
    ) -> Result<(), AddError> {
        let mut venv = self.arguments(&["venv", "--relocatable", "--allow-existing"]);
        venv.extend(["--python".into(), self.host.executable.clone().into()]);
        venv.push(FIXED_PREFIX.into());
        let mut job = self.job("making a virtual environment", venv, Some(target));
        job.network = false;
        let output = confine.run(&job)?;
        if output.status != 0 {
            return Err(failure("make a virtual environment", &output, &self.secrets()));
        }
        if requirements.iter().all(|line| line.starts_with('-')) {
            return Ok(());
        }
        let input = self.input("requirements.txt", &requirements.join("\n"))?;
        let mut install = self.arguments(&["pip", "install", "--link-mode", "copy"]);
        install.extend(["--only-binary", ":all:"].map(Into::into));
        install.extend(flags);
        install.extend(self.links()?);
        install.extend(["--python".into(), format!("{FIXED_PREFIX}/bin/python").into()]);
        install.extend(self.python_version());
        install.extend(["-r".into(), input]);
        let mut job = self.job("installing", install, Some(target));
        if let Some(wanted) = wanted {
            self.lead(wanted, &mut job)?;
        }
        let output = confine.run_heard(&job, heard)?;
        if output.status == 0 {
            Ok(())
        } else {
            Err(failure("install the packages", &output, &self.secrets()))
        }
    }

    /// The flags that tell uv of an interpreter which this machine does not have.
    pub(super) fn python_version(&self) -> Vec<OsString> {
        if self.interpreter.is_present {
            return Vec::new();
        }
        vec!["--python-version".into(), self.interpreter.version.clone().into()]
    }

    /// The flags that let uv choose what was built here.
    fn links(&self) -> Result<Vec<OsString>, AddError> {
        let Some(built) = self.built else { return Ok(Vec::new()) };
        let mut flags = Vec::new();
        for entry in fs::read_dir(built).map_err(AddError::at(built))? {
            let name = entry.map_err(AddError::at(built))?.file_name();
            // One that is just being written.
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            flags.extend(["--find-links".into(), Path::new(BUILT_INSIDE).join(name).into()]);
        }
        Ok(flags)
    }

    pub(super) fn variables(&self) -> Vec<(OsString, OsString)> {
        let index = self.index.variables();
        let index = index.into_iter().map(|(name, value)| (name.into(), value.into()));
        let said: Vec<(OsString, OsString)> = fixed_variables().into_iter().chain(index).collect();
        let outweighed = |name: &OsString| said.iter().any(|(other, _)| other == name);
        let passed: Vec<_> = passed_variables().filter(|(name, _)| !outweighed(name)).collect();
        passed.into_iter().chain(said).collect()
    }

    /// What may be in nobody's sight, although uv knows it.
    fn secrets(&self) -> Vec<String> {
        let variables = self.variables();
        let texts =
            variables.iter().map(|(name, value)| (name.to_string_lossy(), value.to_string_lossy()));
        let secrets = texts.flat_map(|(name, value)| {
            let whole = name.ends_with("_PASSWORD") && !value.is_empty();
            let whole = whole.then(|| value.clone().into_owned());
            credentials::secrets(&value).into_iter().chain(whole).collect::<Vec<_>>()
        });
        secrets.collect()
    }

    /// Has a job find what is wanted where it is.
    fn lead(&self, wanted: &Wanted, job: &mut Job) -> Result<(), AddError> {
        let is_said = |name: &OsString| name == STRATEGY;
        if wanted.is_hashed() && !job.variables.iter().any(|(name, _)| is_said(name)) {
            // Nothing but what has a digest is taken, whichever index has it.
            job.variables.push((STRATEGY.into(), "unsafe-best-match".into()));
        }
        let (folder, inside) = (self.work.join("index"), Path::new(WORK_INSIDE).join("index"));
        let others = wanted.options().any(|option| option.contains("index-url"));
        wanted.archives.offer(others, &folder, &inside, &mut job.variables)
    }

    pub(super) fn input(&self, name: &str, text: &str) -> Result<OsString, AddError> {
        let path = self.work.join(name);
        fs::write(&path, text).map_err(AddError::at(&path))?;
        Ok(Path::new(WORK_INSIDE).join(name).into())
    }

    pub(super) fn arguments(&self, verb: &[&str]) -> Vec<OsString> {
        let mut arguments = vec![UV_INSIDE.into()];
        arguments.extend(verb.iter().map(Into::into));
        arguments.extend(["--no-config", "--no-progress", "--color", "never"].map(Into::into));
        match self.cache {
            Some(_) => arguments.extend(["--cache-dir".into(), CACHE_INSIDE.into()]),
            None => arguments.push("--no-cache".into()),
        }
        arguments
    }

    pub(super) fn job(&self, label: &str, argv: Vec<OsString>, target: Option<&Path>) -> Job {
        // The file alone: it may be a link to another folder, and beside others' programs.
        let mut binds =
            vec![bind(self.binary, UV_INSIDE, false), bind(self.work, WORK_INSIDE, true)];
        binds.extend(self.cache.map(|cache| bind(cache, CACHE_INSIDE, true)));
        binds.extend(self.built.map(|built| bind(built, BUILT_INSIDE, false)));
        binds.extend(target.map(|target| bind(target, FIXED_PREFIX, true)));
        binds.extend(certificates());
        Job {
            label: label.to_owned(),
            argv,
            variables: self.variables(),
            binds,
            network: true,
            directory: "/tmp".into(),
            timeout: PATIENCE,
        }
    }
}

fn bind(host: &Path, inside: &str, writable: bool) -> Bind {
    Bind { host: host.to_owned(), inside: PathBuf::from(inside), writable }
}

/// A certificate file of the user's own, where it is not among the system's.
fn certificates() -> Option<Bind> {
    let path = PathBuf::from(std::env::var_os("SSL_CERT_FILE")?);
    let seen = path.starts_with("/etc/ssl/certs") || path.starts_with("/usr");
    (!seen && path.is_file()).then(|| Bind { host: path.clone(), inside: path, writable: false })
}

/// The supervisor's own variables that uv is given. None that has it build something: only
/// [`super::source`] does, without a network.
fn passed_variables() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        let is_of_uv = name.starts_with("UV_") && !name.starts_with("UV_NO_BINARY");
        is_of_uv || PASSED_ON.contains(&name.as_ref())
    })
}

fn fixed_variables() -> Vec<(OsString, OsString)> {
    let fixed = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("UV_PYTHON_DOWNLOADS", "never"),
    ];
    fixed.map(|(name, value)| (name.into(), value.into())).to_vec()
}

fn text(output: JobOutput) -> Result<String, AddError> {
    String::from_utf8(output.stdout).map_err(|error| AddError::Lock(error.to_string()))
}

fn failure(step: &'static str, output: &JobOutput, secrets: &[String]) -> AddError {
    let said = String::from_utf8_lossy(&output.stderr);
    let explanation = said
        .lines()
        .filter(|line| !line.starts_with("Using ") && !line.trim().is_empty())
        .collect::<Vec<_>>()
        .join("\n");
    let explanation = explanation.strip_prefix("error: ").unwrap_or(&explanation);
    let explanation = explanation.replace(&format!("{WORK_INSIDE}/"), "");
    let explanation = credentials::hide_all(&explanation, secrets);
    // uv ends with 1 where it has understood and found no way, with 2 for all else.
    let is_request = matches!(output.status, 1 | 2)
        && !NOT_THE_REQUEST.iter().any(|sign| explanation.contains(sign));
    if is_request {
        AddError::Unsatisfiable { explanation }
    } else {
        let explanation = format!("{explanation} (status {})", output.status);
        AddError::Uv { step, explanation }
    }
}

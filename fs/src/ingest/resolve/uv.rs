//! uv: resolves, and installs what building takes. The only file that knows how it is called.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::FIXED_PREFIX;
use crate::ingest::confine::{Bind, Confine, Input, Job, JobOutput, Reach, Stop};
use crate::ingest::requirement::{Choice, Requirement};
use crate::ingest::resolve::built::Built;
use crate::ingest::resolve::lock::{self, BUILT_INSIDE, SourceDistribution};
use crate::ingest::resolve::search_scope::{IndexOptions, SearchScope};
use crate::ingest::resolve::wanted::Wanted;
use crate::ingest::{AddError, credentials};
use crate::interpreter::Interpreter;

const UV_INSIDE: &str = "/pipsqueak/uv/uv";
/// The variable that says whether uv looks further than the first index that has a package.
const STRATEGY: &str = "UV_INDEX_STRATEGY";
const CACHE_INSIDE: &str = "/pipsqueak/cache";
/// Work folder as a job sees it.
pub(crate) const WORK_INSIDE: &str = "/pipsqueak/work";

/// Longest time that resolving or installing may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Variables of the supervisor's environment that uv is given: how it is to work and whom to trust. Where
/// packages are is not among them, because credentials may be a part of it: see [`SearchScope`].
const PASSED_ON: [&str; 15] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "UV_CONCURRENT_DOWNLOADS",
    "UV_FORK_STRATEGY",
    "UV_HTTP_CONNECT_TIMEOUT",
    "UV_HTTP_RETRIES",
    "UV_HTTP_TIMEOUT",
    "UV_INDEX_STRATEGY",
    "UV_INSECURE_HOST",
    "UV_NATIVE_TLS",
    "UV_PRERELEASE",
    "UV_REQUEST_TIMEOUT",
    "UV_RESOLUTION",
    "UV_SYSTEM_CERTS",
    "UV_TORCH_BACKEND",
];

/// File in which a job reads what uv is told of where packages are. It can be read once.
const INPUT_INSIDE: &str = "/proc/self/fd/0";

/// Words of uv when it is not the request that is wrong.
const NOT_THE_REQUEST: [&str; 6] = [
    "Failed to fetch",
    "error sending request",
    "Request failed",
    "dns error",
    "Could not connect",
    "No space left on device",
];

/// Words of uv for a package that is there as source alone, around its name.
const NO_WHEEL: (&str, &str) = ("Wheels are required for `", "` because building from source");

/// uv, for one interpreter and one folder of downloads.
#[derive(Debug, Clone, Copy)]
pub struct Uv<'a> {
    /// Executable.
    pub binary: &'a Path,
    /// Folder of downloads; none are kept if it is absent.
    pub cache: Option<&'a Path>,
    /// The interpreter that packages are for.
    pub interpreter: &'a Interpreter,
    /// The interpreter that uv works with: the same, where that is on this machine.
    pub host: &'a Interpreter,
    /// A folder for inputs, of this use alone.
    pub work: &'a Path,
    /// Wheels that were built here, where they may be chosen: see [`crate::ingest::resolve::source`].
    pub built: Option<&'a Built>,
    /// Indexes, as far as variables do not name them.
    pub index: &'a IndexOptions,
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
        let requirements = self.requirements("requirements.txt", &wanted.requirements)?;
        let mut arguments = self.arguments(&["pip", "compile", "--format", "pylock.toml"]);
        arguments.extend(["--no-header", "--only-binary", ":all:"].map(Into::into));
        arguments.extend(["--python".into(), self.host.executable.clone().into()]);
        arguments.extend(self.python_version());
        arguments.extend(self.constraints(wanted)?);
        // An output that is there already is what uv prefers to keep.
        arguments.extend(["--output-file".into(), self.input("pylock.toml", preferred)?]);
        arguments.push(requirements);
        let mut scope = self.scope(wanted);
        self.lead(wanted, &mut scope)?;
        let output = confine.run(&self.online("resolving", arguments, None, wanted, &scope))?;
        if output.status != 0 {
            let said = String::from_utf8_lossy(&output.stderr);
            let after = said.split_once(NO_WHEEL.0).map(|(_, after)| after);
            let failure = failure("resolve the requirements", &output, &scope.secrets());
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

    /// Finds the source of the version of `package` that suits what is wanted. Runs nothing of
    /// it: without what it depends on uv has no need of its metadata.
    pub fn find_source(
        &self,
        confine: &dyn Confine,
        wanted: &Wanted,
        package: &str,
    ) -> Result<SourceDistribution, AddError> {
        let mut asked = wanted.asking_for(package);
        if asked.iter().any(|one| one.address().is_some()) {
            return Err(AddError::unsatisfiable(format!(
                "{package} is an address of a source, which is not built; name a version in an index"
            )));
        }
        asked.push(Requirement::parse(package).map_err(|error| AddError::Lock(error.to_string()))?);
        let requirements = self.requirements("source.txt", &asked)?;
        let mut arguments = self.arguments(&["pip", "compile", "--format", "pylock.toml"]);
        arguments.extend(["--no-header", "--no-deps", "--no-binary", package].map(Into::into));
        arguments.extend(["--python".into(), self.host.executable.clone().into()]);
        arguments.extend(self.python_version());
        arguments.extend(self.constraints(wanted)?);
        arguments.push(requirements);
        let scope = self.scope(wanted);
        let label = "looking for a source distribution";
        let output = confine.run(&self.online(label, arguments, None, wanted, &scope))?;
        if output.status != 0 {
            return Err(failure("find a source distribution", &output, &scope.secrets()));
        }
        lock::source(&text(output)?, package)
    }

    /// Installs what building takes into `environment`.
    pub fn install_for_building(
        &self,
        confine: &dyn Confine,
        requires: &Wanted,
        environment: &Path,
    ) -> Result<(), AddError> {
        self.install(confine, &requires.requirements, requires, environment, Vec::new())
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
        job.variables = fixed_variables();
        Ok(confine.run(&job)?)
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
        self.install(confine, &wanted.requirements, wanted, target, flags)
    }

    /// The flags that keep uv to the constraints.
    fn constraints(&self, wanted: &Wanted) -> Result<Vec<OsString>, AddError> {
        let mut flags = Vec::new();
        if !wanted.constraints.is_empty() {
            let file = self.requirements("constraints.txt", &wanted.constraints)?;
            flags.extend(["--constraints".into(), file]);
        }
        if wanted.is_complete {
            flags.push("--no-deps".into());
        }
        if wanted.choices.contains(&Choice::Pre) {
            flags.extend(["--prerelease", "allow"].map(Into::into));
        }
        Ok(flags)
    }

    fn install(
        &self,
        confine: &dyn Confine,
        requirements: &[Requirement],
        wanted: &Wanted,
        target: &Path,
        flags: Vec<OsString>,
    ) -> Result<(), AddError> {
        let mut venv = self.arguments(&["venv", "--relocatable", "--allow-existing"]);
        venv.extend(["--python".into(), self.host.executable.clone().into()]);
        venv.push(FIXED_PREFIX.into());
        let job = self.job("making a virtual environment", venv, Some(target));
        let output = confine.run(&job)?;
        if output.status != 0 {
            return Err(failure("make a virtual environment", &output, &[]));
        }
        if requirements.is_empty() {
            return Ok(());
        }
        let input = self.requirements("requirements.txt", requirements)?;
        let mut install = self.arguments(&["pip", "install", "--link-mode", "copy"]);
        install.extend(["--only-binary", ":all:"].map(Into::into));
        install.extend(flags);
        install.extend(["--python".into(), format!("{FIXED_PREFIX}/bin/python").into()]);
        install.extend(self.python_version());
        install.extend(["-r".into(), input]);
        let mut scope = self.scope(wanted);
        self.lead(wanted, &mut scope)?;
        let job = self.online("installing", install, Some(target), wanted, &scope);
        let output = confine.run(&job)?;
        if output.status == 0 {
            Ok(())
        } else {
            Err(failure("install the packages", &output, &scope.secrets()))
        }
    }

    /// The flags that tell uv of an interpreter which this machine does not have.
    pub(crate) fn python_version(&self) -> Vec<OsString> {
        if self.interpreter.is_present {
            return Vec::new();
        }
        vec!["--python-version".into(), self.interpreter.version.clone().into()]
    }

    /// Scope in which wanted packages are searched.
    pub(crate) fn scope(&self, wanted: &Wanted) -> SearchScope {
        let variables: Vec<_> = std::env::vars_os().collect();
        let mut scope = SearchScope::of(self.index, &variables);
        scope.add(&wanted.choices);
        scope
    }

    /// Has uv find what is wanted where it is, and choose what was built here.
    fn lead(&self, wanted: &Wanted, scope: &mut SearchScope) -> Result<(), AddError> {
        if wanted.is_hashed() && std::env::var_os(STRATEGY).is_none() {
            // Nothing but what has a digest is taken, whichever index has it.
            scope.look_further();
        }
        for (_, digest) in self.built.iter().flat_map(|built| built.folders()) {
            scope.add_folder(format!("{BUILT_INSIDE}/{digest}"));
        }
        let (folder, inside) = (self.work.join("index"), Path::new(WORK_INSIDE).join("index"));
        wanted.archives.offer(&folder, &inside, scope)
    }

    /// A file of requirements for uv. All that it is asked for is written here.
    pub(crate) fn requirements(
        &self,
        name: &str,
        requirements: &[Requirement],
    ) -> Result<OsString, AddError> {
        let lines = requirements.iter().map(|one| format!("{one}\n"));
        self.input(name, &lines.collect::<String>())
    }

    pub(crate) fn input(&self, name: &str, text: &str) -> Result<OsString, AddError> {
        let path = self.work.join(name);
        fs::write(&path, text).map_err(AddError::at(&path))?;
        Ok(Path::new(WORK_INSIDE).join(name).into())
    }

    pub(crate) fn arguments(&self, verb: &[&str]) -> Vec<OsString> {
        let mut arguments = vec![UV_INSIDE.into()];
        arguments.extend(verb.iter().map(Into::into));
        arguments.extend(["--no-progress", "--color", "never"].map(Into::into));
        match self.cache {
            Some(_) => arguments.extend(["--cache-dir".into(), CACHE_INSIDE.into()]),
            None => arguments.push("--no-cache".into()),
        }
        arguments
    }

    /// A job without a network.
    pub(crate) fn job(&self, label: &str, mut argv: Vec<OsString>, target: Option<&Path>) -> Job {
        // The file alone: it may be a link to another folder, and beside others' programs.
        let mut binds =
            vec![bind(self.binary, UV_INSIDE, false), bind(self.work, WORK_INSIDE, true)];
        binds.extend(self.cache.map(|cache| bind(cache, CACHE_INSIDE, true)));
        for (folder, digest) in self.built.iter().flat_map(|built| built.folders()) {
            binds.push(bind(&folder, &format!("{BUILT_INSIDE}/{digest}"), false));
        }
        binds.extend(target.map(|target| bind(target, FIXED_PREFIX, true)));
        binds.extend(certificates());
        argv.insert(argv.len().min(1), "--no-config".into());
        Job {
            label: label.to_owned(),
            argv,
            variables: passed_variables().chain(fixed_variables()).collect(),
            binds,
            network: None,
            input: Input::default(),
            directory: "/tmp".into(),
            timeout: PATIENCE,
            stop: Stop::default(),
        }
    }

    /// A job of uv that takes packages from `scope`, of which it hears on its stdin.
    pub(crate) fn online(
        &self,
        label: &str,
        argv: Vec<OsString>,
        target: Option<&Path>,
        wanted: &Wanted,
        scope: &SearchScope,
    ) -> Job {
        let mut job = self.job(label, argv, target);
        job.argv.splice(1..2, ["--config-file", INPUT_INSIDE].map(Into::into));
        job.input = Input(scope.configuration().into_bytes());
        job.network = Some(self.reach(wanted));
        job
    }

    /// Reach of the network for what is wanted: the indexes, and what the user has named.
    pub(crate) fn reach(&self, wanted: &Wanted) -> Reach {
        let variables: Vec<_> = std::env::vars_os().collect();
        let mut reach = SearchScope::of(self.index, &variables).reach();
        reach.named.extend(wanted.reach.named.iter().cloned());
        reach
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
/// [`crate::ingest::resolve::source`] does, without a network.
fn passed_variables() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| PASSED_ON.iter().any(|passed| name == passed))
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
    let refused = output.refused.join("\n");
    // uv ends with 1 where it has understood and found no way, with 2 for all else.
    let is_request = matches!(output.status, 1 | 2)
        && !NOT_THE_REQUEST.iter().any(|sign| explanation.contains(sign));
    if is_request || !refused.is_empty() {
        let explanation = format!("{explanation}\n{refused}").trim_end().to_owned();
        AddError::Unsatisfiable { explanation }
    } else {
        let explanation = format!("{explanation} (status {})", output.status);
        AddError::Uv { step, explanation }
    }
}

//! The programs that are used: CPython, uv, and the rest of Pipsqueak.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, Output};

use pipsqueak::settings::{Settings, find_program, shim};

use super::finding::{Finding, Verdict};
use crate::cli::supervisor;

/// The oldest CPython whose interface the runtime is built for.
const OLDEST: (u32, u32) = (3, 9);

/// Prints implementation, version, executable, and whether it belongs to a virtual environment.
const QUESTION: &str = "import sys; print(sys.implementation.name, \
                        '.'.join(map(str, sys.version_info[:3])), \
                        sys.prefix != sys.base_prefix, sys.executable, sep='\\n')";

pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    let ask = |path: &Path| Command::new(path).args(["-I", "-S", "-c", QUESTION]).output();
    let version = |path: &Path| Command::new(path).arg("--version").output();
    let python = settings.python.as_deref();
    let uv = settings.uv.as_deref();
    let supervisor = supervisor::find().ok();
    let in_sandbox = |uv: Option<&Path>| {
        let (supervisor, python) = (supervisor.as_deref()?, python?);
        let mut command = Command::new(supervisor);
        command.args([OsStr::new("try-programs"), OsStr::new("--python"), python.as_os_str()]);
        command.args(uv.iter().flat_map(|uv| [OsStr::new("--uv"), uv.as_os_str()]));
        Some(command.output())
    };
    let found = interpreter(python.map(|path| (path, ask(path))));
    let runs = found.verdict != Verdict::Missing;
    let python = confined(found, || in_sandbox(None));
    // Without an interpreter there is nothing to try it with.
    let runs = runs && python.verdict != Verdict::Missing;
    let found = installer(uv.map(|path| (path, shim::uv(path).and_then(|path| version(&path)))));
    let uv = if runs { confined(found, || in_sandbox(uv)) } else { found };
    let nat =
        nat(supervisor.as_ref().map(|supervisor| Command::new(supervisor).arg("try-nat").output()));
    vec![python, uv, rest(), nat]
}

/// The finding of a program that runs here, tried in a sandbox, where the program will run.
fn confined(found: Finding, tried: impl FnOnce() -> Option<io::Result<Output>>) -> Finding {
    if found.verdict == Verdict::Missing || !nix::unistd::geteuid().is_root() {
        return found;
    }
    match tried().map(text_of) {
        None | Some(Ok(_)) => found,
        Some(Err(error)) => Finding::missing(
            found.check,
            format!("{}, but in a sandbox: {error}", found.found),
            "name another, which needs nothing of the machine but its own folder and /usr",
        ),
    }
}

fn interpreter(asked: Option<(&Path, io::Result<Output>)>) -> Finding {
    const CHECK: &str = "python";
    let advice = "install CPython 3.9 or later, or name one with PIPSQUEAK_PYTHON";
    let Some((path, asked)) = asked else {
        return Finding::missing(CHECK, "no python3 on the PATH", advice);
    };
    let answer = match text_of(asked) {
        Ok(answer) => answer,
        Err(error) => {
            return Finding::missing(CHECK, format!("{}: {error}", path.display()), advice);
        }
    };
    let lines: Vec<&str> = answer.lines().collect();
    let [name, version, venv, executable] = lines[..] else {
        let found = format!("{}: unreadable answer `{answer}`", path.display());
        return Finding::missing(CHECK, found, advice);
    };
    let found = format!("{name} {version} at {executable}");
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    let is_new_enough = (numbers.next(), numbers.next()) >= (Some(OLDEST.0), Some(OLDEST.1));
    if name != "cpython" || !is_new_enough {
        return Finding::missing(CHECK, found, advice);
    }
    if venv == "True" {
        let found = format!("{found}, in a virtual environment");
        return Finding::warning(CHECK, found, "name the interpreter it was made from");
    }
    Finding::ok(CHECK, found)
}

fn installer(asked: Option<(&Path, io::Result<Output>)>) -> Finding {
    const CHECK: &str = "uv";
    let advice = "install it (pip install uv), or name it with PIPSQUEAK_UV";
    let Some((path, asked)) = asked else {
        return Finding::missing(CHECK, "no uv on the PATH", advice);
    };
    match text_of(asked) {
        Ok(version) => Finding::ok(CHECK, format!("{version} at {}", path.display())),
        Err(error) => Finding::missing(CHECK, format!("{}: {error}", path.display()), advice),
    }
}

fn rest() -> Finding {
    const CHECK: &str = "pipsqueakd";
    let advice = "install pipsqueakd and pipsqueak-fs together, beside this program";
    let supervisor = match supervisor::find() {
        Ok(supervisor) => supervisor,
        Err(failure) => return Finding::missing(CHECK, failure.to_string(), advice),
    };
    match find_program(&supervisor.with_file_name("pipsqueak-fs"), None) {
        Ok(_) => Finding::ok(CHECK, supervisor.display().to_string()),
        Err(error) => {
            let found =
                format!("{}, without pipsqueak-fs beside it: {error}", supervisor.display());
            Finding::missing(CHECK, found, advice)
        }
    }
}

/// The finding of a trial of `nat` by the supervisor, in a network namespace of its own.
fn nat(tried: Option<io::Result<Output>>) -> Finding {
    const CHECK: &str = "nat";
    let failed = match tried.map(text_of) {
        Some(Ok(_)) => return Finding::ok(CHECK, "functions can have addresses behind the host's"),
        Some(Err(error)) => error,
        None => "no pipsqueakd to try it with".to_owned(),
    };
    let advice = "functions with --network nat do not start: the kernel must have bridges, veth, and \
                  nftables with reject and inet nat (5.2), and /proc/sys must be writable";
    Finding::warning(CHECK, failed, advice)
}

fn text_of(asked: io::Result<Output>) -> Result<String, String> {
    let output = asked.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!("{}: {}", output.status, text(&output.stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(answer: &str) -> Finding {
        let output = Command::new("printf").arg(answer).output();
        interpreter(Some((Path::new("/p"), output)))
    }

    #[test]
    fn interpreters_are_judged_by_what_they_say() {
        let good = answering("cpython\n3.11.7\nFalse\n/usr/bin/python3\n");
        assert_eq!(good, Finding::ok("python", "cpython 3.11.7 at /usr/bin/python3"));
        for (answer, verdict) in [
            ("cpython\n3.9.0\nFalse\n/p", Verdict::Ok),
            ("cpython\n3.8.18\nFalse\n/p", Verdict::Missing),
            ("pypy\n3.11.7\nFalse\n/p", Verdict::Missing),
            ("cpython\n3.12.1\nTrue\n/v/bin/python", Verdict::Warning),
            ("hello", Verdict::Missing),
        ] {
            assert_eq!(answering(answer).verdict, verdict, "{answer}");
        }
        assert_eq!(interpreter(None).verdict, Verdict::Missing);
    }

    #[test]
    fn what_the_machine_cannot_do_for_nat_is_a_warning() {
        let failing = Command::new("sh").args(["-c", "echo no bridges >&2; exit 70"]).output();
        let finding = nat(Some(failing));
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(finding.found.ends_with("no bridges"), "{finding:?}");
        assert_eq!(nat(Some(Command::new("true").output())).verdict, Verdict::Ok);
    }

    #[test]
    fn what_runs_here_alone_is_missing() {
        let tried = |status: &str| Command::new("sh").args(["-c", status]).output();
        let found = Finding::ok("uv", "uv 1");
        assert_eq!(confined(found.clone(), || Some(tried("exit 0"))), found);
        let failing = confined(found, || Some(tried("echo no such file >&2; exit 70")));
        assert_eq!(failing.verdict, Verdict::Missing);
        assert!(failing.found.starts_with("uv 1, but in a sandbox: "), "{failing:?}");
    }

    #[test]
    fn a_program_that_fails_is_told_with_what_it_said() {
        let output = Command::new("sh").args(["-c", "echo broken >&2; exit 3"]).output();
        let finding = installer(Some((Path::new("/uv"), output)));
        assert_eq!(finding.verdict, Verdict::Missing);
        assert_eq!(finding.found, "/uv: exit status: 3: broken");
        assert_eq!(installer(None).verdict, Verdict::Missing);
    }
}

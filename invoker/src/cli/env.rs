//! `pipsqueak env`: environments.

mod docker_args;

use pipsqueak::settings::{find_program, shim};
use pipsqueak::size;
use pipsqueak::wire::{EnvironmentInfo, Reply, Request};

use super::args::{EnvAdd, EnvVerb, Packages, Places};
use super::failure::{Exit, Failure};
use super::progress::Meter;
use super::{ask, output, requirements};

/// Carries the verb out.
pub fn run(places: &Places, verb: EnvVerb) -> Result<Exit, Failure> {
    match verb {
        EnvVerb::Add(add) => output::print(&summary(&make(places, add)?)),
        EnvVerb::Ls(format) => {
            let Reply::Environments { environments } =
                ask(places, &Request::EnvLs, Meter::still())?
            else {
                return Err(Failure::WrongReply);
            };
            if format.json {
                output::json(&environments)
            } else {
                output::print(&list(&environments))
            }
        }
        EnvVerb::Show { name, format } => {
            let environment = show(places, name)?;
            if format.json {
                return output::json(&environment);
            }
            output::print(&(summary(&environment) + &distributions(&environment)))
        }
        EnvVerb::Path { name } => {
            output::line(show(places, name)?.path.to_string_lossy().into_owned())
        }
        EnvVerb::DockerArgs { name } => {
            match ask(places, &Request::EnvExport { name }, Meter::still())? {
                Reply::Export(export) => output::line(docker_args::line(&export)?),
                _ => Err(Failure::WrongReply),
            }
        }
        EnvVerb::Freeze { name } => output::print(&freeze(&show(places, name)?)),
        EnvVerb::Rm { name } => match ask(places, &Request::EnvRm { name }, Meter::still())? {
            Reply::Done { message } => output::line(message),
            _ => Err(Failure::WrongReply),
        },
    }
}

/// Makes an environment, or replaces one.
fn make(places: &Places, add: EnvAdd) -> Result<EnvironmentInfo, Failure> {
    let search = std::env::var_os("PATH");
    let python = add.python.map(|path| {
        find_program(&path, search.as_deref())
            .and_then(|found| shim::python(&found))
            .map_err(|e| Failure::Input(format!("--python {}: {e}", path.display())))
    });
    let python = python.transpose()?;
    let Packages { packages, requirements: files } = add.packages;
    let mut requirements = if files.is_empty() {
        requirements::of_packages(&packages, &add.constraints)?
    } else {
        requirements::of_files(&files, &add.constraints)?
    };
    requirements::allow_build(&mut requirements, add.allow_build)?;
    let EnvAdd { name, python_version, upgrade, .. } = add;
    let request = Request::EnvAdd { name, requirements, python, python_version, upgrade };
    one(ask(places, &request, Meter::spinning())?)
}

fn show(places: &Places, name: String) -> Result<EnvironmentInfo, Failure> {
    one(ask(places, &Request::EnvShow { name }, Meter::still())?)
}

fn one(reply: Reply) -> Result<EnvironmentInfo, Failure> {
    match reply {
        Reply::Environment(environment) => Ok(environment),
        _ => Err(Failure::WrongReply),
    }
}

fn summary(environment: &EnvironmentInfo) -> String {
    let absent = if environment.bytecode { "" } else { " (not on this machine: no bytecode)" };
    format!(
        "{}: CPython {}{absent}, {} distributions, {} files, {}\n{}\n",
        environment.name,
        environment.python,
        environment.distributions.len(),
        environment.files,
        size::format(environment.bytes),
        environment.path.display()
    )
}

fn list(environments: &[EnvironmentInfo]) -> String {
    let rows: Vec<_> = environments
        .iter()
        .map(|e| {
            [
                e.name.clone(),
                e.python.clone(),
                e.distributions.len().to_string(),
                e.files.to_string(),
                size::format(e.bytes),
                e.path.display().to_string(),
            ]
        })
        .collect();
    output::table(["NAME", "PYTHON", "DISTRIBUTIONS", "FILES", "SIZE", "PATH"], &rows)
}

fn distributions(environment: &EnvironmentInfo) -> String {
    let rows: Vec<_> = environment
        .distributions
        .iter()
        .map(|d| [d.name.clone(), d.version.clone(), d.digest.chars().take(12).collect()])
        .collect();
    output::table(["DISTRIBUTION", "VERSION", "DIGEST"], &rows)
}

fn freeze(environment: &EnvironmentInfo) -> String {
    let lines = environment.distributions.iter().map(|d| format!("{}=={}", d.name, d.version));
    lines.chain([String::new()]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use pipsqueak::wire::DistributionInfo;

    use super::*;

    #[test]
    fn freeze_prints_what_pip_and_uv_read() {
        let distribution = |name: &str, version: &str| DistributionInfo {
            name: name.to_owned(),
            version: version.to_owned(),
            digest: "0123456789abcdef".to_owned(),
        };
        let environment = EnvironmentInfo {
            name: "web".to_owned(),
            digest: "00".to_owned(),
            view: "11".to_owned(),
            path: "/pipsqueak/packages/envs/web".into(),
            python: "3.11.7".to_owned(),
            interpreter: "/usr/bin/python3".into(),
            bytecode: true,
            distributions: vec![distribution("flask", "3.1.0"), distribution("jinja2", "3.1.6")],
            files: 12,
            bytes: 2048,
        };
        assert_eq!(freeze(&environment), "flask==3.1.0\njinja2==3.1.6\n");
        assert!(
            summary(&environment).starts_with("web: CPython 3.11.7, 2 distributions, 12 files")
        );
        assert!(distributions(&environment).contains("flask         3.1.0    0123456789ab\n"));
    }
}

//! `pipsqueak deploy`: a function from a folder, a file, a zip or a wheel.

use std::time::Duration;

use pipsqueak::wire::{self, AsyncPolicy, Reply, Request};

use super::args::{Deploy, Places};
use super::failure::{Exit, Failure};
use super::progress::Meter;
use super::source::{OpenLambda, Source};
use super::variables::{of_files, of_secret};
use super::{ask, output, requirements};

/// Carries the verb out.
pub fn run(places: &Places, deploy: Deploy) -> Result<Exit, Failure> {
    let request = Request::Deploy(Box::new(plan(deploy)?));
    let Reply::Function(function) = ask(places, &request, Meter::spinning())? else {
        return Err(Failure::WrongReply);
    };
    output::line(format!(
        "deployed {}, version {}, handler {}",
        function.name, function.version, function.handler
    ))
}

fn plan(deploy: Deploy) -> Result<wire::Deploy, Failure> {
    let source = Source::open(&deploy.source)?;
    let openlambda = source.openlambda()?.unwrap_or_default();
    tell_what_is_ignored(&openlambda);
    let mut variables = openlambda.variables;
    variables.extend(of_files(&deploy.env_files)?);
    variables.extend(deploy.variables);
    for (name, file) in &deploy.secrets {
        variables.extend([of_secret(name, file)?]);
    }
    let schedules =
        if deploy.schedules.is_empty() { openlambda.schedules } else { deploy.schedules };
    let mut requirements = match (&deploy.env, deploy.requirements.as_slice()) {
        (Some(_), _) => None,
        (None, []) => source.requirements()?,
        (None, files) => Some(requirements::of_files(files, &[])?),
    };
    if let Some(requirements) = &mut requirements {
        requirements::allow_build(requirements, deploy.allow_build)?;
    }
    let timeout_ms = deploy.timeout.map(|timeout| timeout.as_millis().try_into());
    let usual = AsyncPolicy::default();
    let millis = |time: Option<Duration>, usual| {
        // The parser of times refuses longer times, so this always fits.
        time.map_or(usual, |time| time.as_millis().try_into().unwrap_or(u64::MAX))
    };
    Ok(wire::Deploy {
        name: deploy.name,
        source: source.path,
        handler: deploy.handler,
        environment: deploy.env,
        requirements,
        memory: deploy.memory,
        cpu_millis: deploy.cpus,
        tmp: deploy.tmp,
        timeout_ms: timeout_ms
            .transpose()
            .map_err(|_| Failure::Input("--timeout: too long".into()))?,
        concurrency: deploy.concurrency,
        sandboxes: deploy.sandboxes,
        payload: deploy.payload,
        network: deploy.network,
        tenant: deploy.tenant,
        variables,
        schedules,
        asynchronous: AsyncPolicy {
            retries: deploy.retries.unwrap_or(usual.retries),
            backoff_ms: millis(deploy.backoff, usual.backoff_ms),
            max_age_ms: millis(deploy.max_age, usual.max_age_ms),
        },
    })
}

/// Tells which keys of an `ol.yaml` have no effect.
fn tell_what_is_ignored(openlambda: &OpenLambda) {
    for key in &openlambda.unknown {
        output::aside(&format!("warning: ol.yaml: {key} is ignored"));
    }
    if !openlambda.methods.is_empty() {
        let methods = openlambda.methods.join(", ");
        output::aside(&format!(
            "warning: ol.yaml: other HTTP methods than {methods} are let in too"
        ));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use pipsqueak::wire::Requirements;

    use super::*;
    use crate::cli::args::{Arguments, Verb};

    fn parsed(line: &[&str]) -> Deploy {
        let all = ["pipsqueak", "deploy", "f"].iter().chain(line);
        let Verb::Deploy(deploy) = Arguments::try_parse_from(all).unwrap().verb else {
            panic!("another verb")
        };
        deploy
    }

    #[test]
    fn what_is_sent_means_the_same_in_another_working_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let file = folder.path().join("r.txt");
        std::fs::write(&file, "flask\n").unwrap();
        let line = [&format!("{path}/../{}", folder.path().file_name().unwrap().display())];
        let line: Vec<&str> = line.iter().map(|s| s.as_str()).collect();
        let options =
            ["-r", file.to_str().unwrap(), "--timeout", "1.5", "--set", "A=1", "--set", "A=2"];
        let deploy = plan(parsed(&[line.as_slice(), &options].concat())).unwrap();
        assert_eq!(deploy.source, folder.path().canonicalize().unwrap());
        let Some(Requirements::Listed { requirements, .. }) = deploy.requirements else {
            panic!("{:?}", deploy.requirements)
        };
        assert_eq!(requirements, ["flask"]);
        assert_eq!(deploy.timeout_ms, Some(1500));
        assert_eq!(deploy.variables["A"], "2");
        assert_eq!(deploy.network, wire::Network::None);
        assert_eq!(deploy.asynchronous, AsyncPolicy::default());
    }

    #[test]
    fn what_is_not_there_is_bad_input() {
        assert_eq!(plan(parsed(&["/nowhere"])).unwrap_err().exit(), Exit::BadInput);
        let error = plan(parsed(&["/", "-r", "/nowhere.txt"])).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /nowhere.txt: "), "{error}");
    }
}

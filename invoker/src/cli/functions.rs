//! `pipsqueak functions`: the functions that are deployed.

use std::fmt::Write;

use pipsqueak::size;
use pipsqueak::wire::{
    AsyncPolicy, DEFAULT_PAYLOAD, FunctionInfo, Network, Reply, Request, Requirements,
};

use super::args::{FunctionsVerb, Places};
use super::failure::{Exit, Failure};
use super::progress::Meter;
use super::{ask, output};

/// Carries the verb out.
pub fn run(places: &Places, verb: FunctionsVerb) -> Result<Exit, Failure> {
    match verb {
        FunctionsVerb::Ls(format) => {
            let Reply::Functions { functions } =
                ask(places, &Request::FunctionsLs, Meter::still())?
            else {
                return Err(Failure::WrongReply);
            };
            if format.json { output::json(&functions) } else { output::print(&list(&functions)) }
        }
        FunctionsVerb::Show { name, format } => {
            let request = Request::FunctionsShow { name };
            let Reply::Function(function) = ask(places, &request, Meter::still())? else {
                return Err(Failure::WrongReply);
            };
            if format.json { output::json(&function) } else { output::print(&describe(&function)) }
        }
        FunctionsVerb::Rm { name } => {
            match ask(places, &Request::FunctionsRm { name }, Meter::still())? {
                Reply::Done { message } => output::line(message),
                _ => Err(Failure::WrongReply),
            }
        }
    }
}

fn list(functions: &[FunctionInfo]) -> String {
    let rows: Vec<_> = functions
        .iter()
        .map(|f| {
            [
                f.name.clone(),
                f.handler.clone(),
                environment(f),
                f.version.to_string(),
                size::format(f.memory),
                seconds(f.timeout_ms),
                f.concurrency.to_string(),
                f.sandboxes.to_string(),
                network(f.network).to_owned(),
            ]
        })
        .collect();
    let header = [
        "NAME",
        "HANDLER",
        "ENVIRONMENT",
        "VERSION",
        "MEMORY",
        "TIMEOUT",
        "CONCURRENCY",
        "SANDBOXES",
        "NETWORK",
    ];
    output::table(header, &rows)
}

fn describe(f: &FunctionInfo) -> String {
    let mut text = format!(
        "{}, version {}\nhandler      {}\nenvironment  {}\nmemory       {}\ncpus         {}\n\
         tmp          {}\ntimeout      {}\nconcurrency  {}\nsandboxes    {}\npayload      {} in, {} out\n\
         network      {}\ntenant       {}\nevents       {}\n",
        f.name,
        f.version,
        f.handler,
        environment(f),
        size::format(f.memory),
        cpus(f.cpu_millis),
        size::format(f.tmp),
        seconds(f.timeout_ms),
        f.concurrency,
        f.sandboxes,
        payload(f.payload_in),
        payload(f.payload_out),
        network(f.network),
        f.tenant.as_deref().map_or_else(|| "-".to_owned(), output::harmless),
        asynchronous(&f.asynchronous)
    );
    for name in f.variables.keys() {
        let _ = writeln!(text, "variable     {name}");
    }
    for schedule in &f.schedules {
        let _ = writeln!(text, "schedule     {schedule}");
    }
    if let Some(next) = &f.next_run {
        let _ = writeln!(text, "next run     {next}");
    }
    match &f.requirements {
        Some(Requirements::Listed { requirements, constraints, requires_python, .. }) => {
            for line in requirements {
                let _ = writeln!(text, "requires     {line}");
            }
            for line in constraints {
                let _ = writeln!(text, "constraint   {line}");
            }
            if let Some(versions) = requires_python {
                let _ = writeln!(text, "python       {versions}");
            }
        }
        Some(Requirements::Locked { .. }) => text.push_str("requires     what its lock says\n"),
        None => {}
    }
    text
}

fn asynchronous(policy: &AsyncPolicy) -> String {
    let (after, age) = (seconds(policy.backoff_ms), seconds(policy.max_age_ms));
    format!("tried {} times more, after {after} at first, for {age} at most", policy.retries)
}

fn environment(function: &FunctionInfo) -> String {
    match (&function.environment, &function.requirements) {
        (Some(name), _) => name.clone(),
        (None, Some(_)) => "(its own)".to_owned(),
        (None, None) => "(no packages)".to_owned(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "printed with three digits after the point")]
fn seconds(milliseconds: u64) -> String {
    format!("{} s", milliseconds as f64 / 1000.0)
}

fn cpus(millis: Option<u32>) -> String {
    millis.map_or_else(|| "no limit".to_owned(), |millis| (f64::from(millis) / 1000.0).to_string())
}

fn payload(bytes: Option<u64>) -> String {
    size::format(bytes.unwrap_or(DEFAULT_PAYLOAD))
}

fn network(network: Network) -> &'static str {
    match network {
        Network::None => "none",
        Network::Host => "host",
        Network::Nat => "nat",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_described_with_what_it_was_deployed_with() {
        let function = FunctionInfo {
            name: "f".to_owned(),
            handler: "app.handler".to_owned(),
            environment: None,
            requirements: Some(Requirements::Listed {
                requirements: vec!["flask".to_owned(), "numpy".to_owned()],
                constraints: Vec::new(),
                requires_python: None,
                allow_build: false,
                is_brought: false,
            }),
            version: 3,
            memory: 128 << 20,
            cpu_millis: Some(500),
            tmp: 1 << 30,
            timeout_ms: 1500,
            concurrency: 4,
            sandboxes: 2,
            payload_in: Some(10 << 20),
            payload_out: None,
            network: Network::None,
            tenant: Some("acme".to_owned()),
            variables: [("A".to_owned(), "b".to_owned())].into(),
            schedules: vec!["*/5 * * * *".to_owned()],
            next_run: Some("2026-01-01T00:05:00Z".to_owned()),
            asynchronous: AsyncPolicy::default(),
        };
        let text = describe(&function);
        for part in [
            "f, version 3\n",
            "128.0 MiB",
            "cpus         0.5\n",
            "tenant       acme\n",
            "tmp          1.0 GiB\n",
            "1.5 s",
            "concurrency  4\nsandboxes    2\n",
            "payload      10.0 MiB in, 6.0 MiB out\n",
            "variable     A\n",
            "requires     numpy\n",
            "schedule     */5 * * * *\nnext run     2026-01-01T00:05:00Z\n",
            "tried 2 times more, after 60 s at first, for 21600 s at most\n",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(list(&[function]).lines().nth(1).unwrap().contains("(its own)"));
    }
}

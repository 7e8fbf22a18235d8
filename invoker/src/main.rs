//! `pipsqueak`: every verb is one request to the supervisor.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use cli::args::{Arguments, Verb};
use cli::failure::Exit;
use cli::{
    config, deploy, doctor, down, env, events, evict, explain, functions, help, invoke, logs,
    output, status, store, up, upgrade, zygotes,
};

fn main() -> ExitCode {
    let Arguments { places, verb } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            // The error repeats what was typed, or the names that a pattern has found.
            output::aside(&error.to_string());
            return Exit::BadInput.into();
        }
        Err(help) => help.exit(),
    };
    let done = match verb {
        Verb::Up(up) => up::run(places, up),
        Verb::Down => down::run(&places),
        Verb::Upgrade => upgrade::run(&places),
        Verb::Config { verb } => config::run(places, verb),
        Verb::Doctor(doctor) => doctor::run(places, &doctor),
        Verb::Env { verb } => env::run(&places, verb),
        Verb::Deploy(deploy) => deploy::run(&places, deploy),
        Verb::Functions { verb } => functions::run(&places, verb),
        Verb::Invoke(invoke) => invoke::run(&places, invoke),
        Verb::Logs(logs) => logs::run(&places, logs),
        Verb::Events { verb } => events::run(&places, verb),
        Verb::Evict(evict) => evict::run(&places, evict),
        Verb::Status(status) => status::run(&places, &status),
        Verb::Explain(explain) => explain::run(&places, explain),
        Verb::Zygotes { verb } => zygotes::run(&places, verb),
        Verb::Store { verb } => store::run(&places, verb),
        Verb::Help { words } => help::run(&words),
        Verb::Detach { program } => up::detach(&program),
        Verb::TryNamespaces => doctor::try_namespaces(),
    };
    done.unwrap_or_else(|failure| {
        output::complain(&failure);
        failure.exit()
    })
    .into()
}

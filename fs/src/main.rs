//! `pipsqueak-fs`: keeps the mount and serves it. Started by the supervisor, which has made it.

use std::path::PathBuf;
use std::process::ExitCode;

use pipsqueak_fs::mount::{Orphaned, Role, keep, serve};
use pipsqueak_fs::prefetch;

const USAGE: &str = "pipsqueak-fs is started by pipsqueakd:
    pipsqueak-fs keep --state DIR --mount DIR [--adopt] [--leave]
with the FUSE connection as stdin and a socket to the supervisor as stdout. It starts itself as
    pipsqueak-fs serve --state DIR --mount DIR [--adopt] [--leave]
with the connection as stdin and a socket to the first as stdout, and that
    pipsqueak-fs prefetch --state DIR --mount DIR
with a socket to the second as stdin";

/// Task of this process.
enum Task {
    Keep(Role, Orphaned),
    Serve(Role, Orphaned),
    Prefetch,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let Some((task, state, mountpoint)) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (what, done) = match task {
        Task::Keep(role, orphaned) => {
            ("keeping the mount", keep(&state, &mountpoint, role, orphaned))
        }
        Task::Serve(role, orphaned) => {
            ("serving the mount", serve(&state, &mountpoint, role, orphaned))
        }
        Task::Prefetch => ("reading ahead", prefetch::run(&state, &mountpoint)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, mount = %mountpoint.display(), "{what}");
            ExitCode::from(70)
        }
    }
}

fn arguments() -> Option<(Task, PathBuf, PathBuf)> {
    let mut arguments = std::env::args_os().skip(1);
    let mut task = match arguments.next()?.to_str()? {
        "keep" => Task::Keep(Role::First, Orphaned::Unmounts),
        "serve" => Task::Serve(Role::First, Orphaned::Unmounts),
        "prefetch" => Task::Prefetch,
        _ => return None,
    };
    let (mut state, mut mountpoint) = (None, None);
    while let Some(argument) = arguments.next() {
        match (argument.to_str()?, &mut task) {
            ("--state", _) => state = Some(arguments.next()?.into()),
            ("--mount", _) => mountpoint = Some(arguments.next()?.into()),
            ("--adopt", Task::Keep(role, _) | Task::Serve(role, _)) => *role = Role::Successor,
            ("--leave", Task::Keep(_, orphaned) | Task::Serve(_, orphaned)) => {
                *orphaned = Orphaned::Leaves;
            }
            _ => return None,
        }
    }
    Some((task, state?, mountpoint?))
}

//! `pipsqueak-fs`: serves the mount. Started by the supervisor, on a connection that it keeps.

use std::path::PathBuf;
use std::process::ExitCode;

use pipsqueak_fs::mount::{Role, serve};

const USAGE: &str = "pipsqueak-fs is started by pipsqueakd:
    pipsqueak-fs serve --state DIR --mount DIR [--adopt]
with the FUSE connection as stdin and a socket to the supervisor as stdout";

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let Some((state, mountpoint, role)) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match serve(&state, &mountpoint, role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, mount = %mountpoint.display(), "serving the mount");
            ExitCode::from(70)
        }
    }
}

fn arguments() -> Option<(PathBuf, PathBuf, Role)> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != "serve" {
        return None;
    }
    let (mut state, mut mountpoint, mut role) = (None, None, Role::First);
    while let Some(argument) = arguments.next() {
        match argument.to_str()? {
            "--state" => state = Some(arguments.next()?.into()),
            "--mount" => mountpoint = Some(arguments.next()?.into()),
            "--adopt" => role = Role::Successor,
            _ => return None,
        }
    }
    Some((state?, mountpoint?, role))
}

//! Real sandboxes: what a program in one sees and can do, and what is left of it afterwards.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use pipsqueakd::machine::cgroups::{Instance, Limits};
use pipsqueakd::network::Nat;
use pipsqueakd::sandbox::failure::{Cause, Failure, LaunchError, MakeError, ProgramError};
use pipsqueakd::sandbox::{
    Commons, Exit, Plan, Program, Sandbox, SandboxError, Sandboxes, Standing,
};

/// Sandboxes of a test of this name, and the folder of their maker's root.
fn sandboxes(test: &str) -> (Sandboxes, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let groups = Instance::create(&format!("test-{test}-{}", std::process::id())).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_pipsqueakd"));
    let runtime = tokio::runtime::Handle::current();
    let nat = Nat::new("00000000", None, folder.path(), runtime.clone()).unwrap();
    (Sandboxes::start(binary, groups, nat, folder.path(), runtime).unwrap(), folder)
}

fn plan(standing: Standing) -> Plan {
    Plan {
        standing,
        limits: Limits { memory: Some(256 << 20), pids: Some(64), ..Limits::NONE },
        commons: Commons::of_functions(true, None),
        shared: Vec::new(),
        mounts: Vec::new(),
        tmp_bytes: 1 << 20,
        keeps: None,
    }
}

/// Runs a shell script in a sandbox; what it printed and how it ended.
async fn shell(sandboxes: &Sandboxes, sandbox: &Sandbox, script: &str) -> (String, Exit) {
    let null = File::open("/dev/null").unwrap();
    let (mut printed, print) = std::io::pipe().unwrap();
    let print = OwnedFd::from(print);
    let program = Program {
        arguments: ["/bin/sh", "-c", script].map(ToOwned::to_owned).to_vec(),
        variables: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        directory: "/tmp".into(),
        descriptors: vec![null.as_fd(), print.as_fd(), print.as_fd()],
    };
    let process = sandboxes.launch(sandbox, program).unwrap();
    drop(print);
    let mut text = String::new();
    printed.read_to_string(&mut text).unwrap();
    let exit = process.end.heard(Duration::from_secs(5)).await.unwrap();
    (text, exit)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_sees_its_sandbox_and_can_change_only_its_tmp() {
    let (sandboxes, _folder) = sandboxes("sees");
    let sandbox = sandboxes.make(plan(Standing::Function), None).unwrap();
    let run = async |script: &str| shell(&sandboxes, &sandbox, script).await;

    let (status, _) = run("cat /proc/self/status").await;
    for line in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("{line}:\t0000000000000000")), "{status}");
    }
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert_eq!(run("id -u; hostname; pwd").await.0, "1000\ns1\n/tmp\n");
    let (processes, _) = run("ls /proc | grep -c '^[0-9]'").await;
    assert!(processes.trim().parse::<u32>().unwrap() <= 5, "{processes}");
    assert_eq!(run("ls /").await.0.split_whitespace().filter(|n| *n == "root").count(), 0);
    assert_eq!(run("ls /proc/self/fd | wc -l").await.0.trim(), "4");
    assert_eq!(run("tail -n +3 /proc/net/dev | cut -d: -f1").await.0.trim(), "lo");
    for denied in
        ["echo > /x", "echo > /usr/x", "cat /etc/shadow", "mount -t tmpfs x /tmp", "kill -9 1"]
    {
        let (said, exit) = run(&format!("{denied} && echo done")).await;
        assert!(exit.code() != 0 || denied.starts_with("kill"), "{denied}: {said}");
    }
    assert_eq!(run("echo mine > /tmp/x; cat /tmp/x").await.0, "mine\n");
    let (said, _) = run("head -c 2000000 /dev/zero > /tmp/y").await;
    assert!(said.contains("No space left"), "{said}");
    assert_eq!(run("kill -SEGV $$").await.1.describe(), "was killed by signal 11 (SIGSEGV)");
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_freeze_and_leave_nothing() {
    let (sandboxes, _folder) = sandboxes("leave");
    let sandbox = sandboxes.make(plan(Standing::Function), None).unwrap();
    sandbox.group().freeze().unwrap();
    sandbox.group().thaw().unwrap();
    assert_eq!(shell(&sandboxes, &sandbox, "echo awake").await.0, "awake\n");
    let nested = std::sync::Arc::new(sandboxes.make(plan(Standing::Zygote), None).unwrap());
    let inner = sandboxes.make(plan(Standing::Function), Some(&nested)).unwrap();
    inner.group().freeze().unwrap();
    drop((sandbox, inner, nested));
    sandboxes.stop().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let roots = mounts.lines().filter(|line| line.contains(" cgroup"));
    for root in roots.filter_map(|line| line.split(' ').nth(1)) {
        let group = format!("pipsqueak-test-leave-{}", std::process::id());
        assert!(!Path::new(root).join(group).exists(), "{root}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_not_taken_fails_alone() {
    let (sandboxes, _folder) = sandboxes("refused");
    let sandbox = sandboxes.make(plan(Standing::Function), None).unwrap();
    let null = File::open("/dev/null").unwrap();
    let program = Program {
        arguments: vec!["/bin/true".to_owned(), "x".repeat(8 << 20)],
        variables: Vec::new(),
        directory: "/tmp".into(),
        descriptors: vec![null.as_fd(); 3],
    };
    let refused = sandboxes.launch(&sandbox, program).unwrap_err().to_string();
    assert!(refused.contains("longer than is taken"), "{refused}");
    assert_eq!(shell(&sandboxes, &sandbox, "echo served").await.0, "served\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_supervisor_can_tell_what_failed_in_another_process() {
    let (sandboxes, _folder) = sandboxes("failed");
    let sandbox = sandboxes.make(plan(Standing::Function), None).unwrap();
    let null = File::open("/dev/null").unwrap();
    let launch = |program: &str, directory: &str| {
        let program = Program {
            arguments: vec![program.to_owned()],
            variables: Vec::new(),
            directory: directory.into(),
            descriptors: vec![null.as_fd(); 3],
        };
        match sandboxes.launch(&sandbox, program) {
            Err(SandboxError::Failed {
                source: Failure::Launch(LaunchError::Program(error)),
                ..
            }) => error,
            other => panic!("{other:?}"),
        }
    };
    let missing = Cause::Number(nix::libc::ENOENT);
    let expected = ProgramError::Exec { program: "/bin/none".to_owned(), source: missing.clone() };
    assert_eq!(launch("/bin/none", "/tmp"), expected);
    let expected = ProgramError::Directory { path: "/none".into(), source: missing };
    assert_eq!(launch("/bin/true", "/none"), expected);

    let mounted = ("/tmp/../etc".into(), OwnedFd::from(null.try_clone().unwrap()));
    let plan = Plan { mounts: vec![mounted], ..plan(Standing::Function) };
    let failed = sandboxes.make(plan, None);
    let is_refused = matches!(
        &failed,
        Err(SandboxError::Failed { source: Failure::Make(MakeError::NoPlace(path)), .. })
            if path == Path::new("/tmp/../etc")
    );
    assert!(is_refused, "{failed:?}");
}

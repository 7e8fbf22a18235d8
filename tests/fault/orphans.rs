//! A pid namespace whose first process reaps nothing, as in many containers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::{Instance, Options, Process, binary, eventually, folder, write};
use crate::tests;

tests!(nothing_is_left_unreaped_after_the_maker_was_killed,);

/// Pid and mount namespaces whose first process only sleeps, until this is dropped.
struct Place {
    unsharing: Child,
    first: i32,
}

impl Place {
    fn start() -> Self {
        let arguments = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sleep"];
        let mut command = Command::new("unshare");
        let unsharing = command.args(arguments).arg("1000000").spawn().unwrap();
        let mut first = None;
        eventually("it has a first process", || {
            let found = Process::all().into_iter().find(|one| {
                u32::try_from(one.parent) == Ok(unsharing.id())
                    && one.name == "sleep"
                    && one.state != 'Z'
            });
            first = found.map(|one| one.pid);
            first.is_some()
        });
        Self { unsharing, first: first.unwrap() }
    }

    /// Names of the ended processes in the namespace that nothing has reaped.
    fn unreaped(&self) -> Vec<String> {
        let all = Process::all();
        let is_inside = |mut number: i32| loop {
            if number == self.first {
                return true;
            }
            let Some(one) = all.iter().find(|one| one.pid == number) else { return false };
            number = one.parent;
        };
        let ended = all.iter().filter(|one| one.state == 'Z' && is_inside(one.pid));
        ended.map(|one| one.name.clone()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.unsharing.kill();
        let _ = self.unsharing.wait();
    }
}

/// The maker of an instance, as the test's own namespace shows it.
fn maker(instance: &Instance) -> Option<i32> {
    let group = instance.group().unwrap();
    let found = Process::all().into_iter().find(|one| {
        let line = one.line();
        // Its heir and its forks have the same command line.
        one.name == "pipsqueakd" && line.contains("make-sandboxes") && line.contains(group)
    });
    found.map(|one| one.pid)
}

fn nothing_is_left_unreaped_after_the_maker_was_killed() {
    let place = Place::start();
    let programs = folder();
    let program = binary("pipsqueak");
    let script = format!(
        "#!/bin/sh\nexec nsenter --target {} --pid --mount -- {} \"$@\"\n",
        place.first,
        program.display()
    );
    let inside = write(programs.path(), "pipsqueak", &script);
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755)).unwrap();
    let programs = Some(programs.path().to_owned());
    let instance = Instance::start(&Options { programs, ..Options::default() });
    instance.deploy("f", "def handler(event): return event\n", &[]);
    for event in 0..2 {
        assert_eq!(instance.invoke("f", &json!(event))["result"], event);
        instance.await_zygotes();
        instance.ok(&["evict", "--paused"]);
    }
    // A new interpreter, whose parent the maker is, a zygote's child, and their holders.
    assert_eq!(instance.invoke("f", &json!(2))["tier"], "zygote");
    let killed = maker(&instance).unwrap();
    kill(Pid::from_raw(killed), Signal::SIGKILL).unwrap();
    eventually("there is another maker", || maker(&instance).is_some_and(|now| now != killed));
    instance.ok(&["evict"]);
    assert_eq!(instance.invoke("f", &json!(3))["result"], 3);
    eventually("all have been reaped", || place.unreaped().is_empty());
    instance.ok(&["down"]);
    // Only what was started for good is for that first process to reap.
    let unreaped = place.unreaped();
    let ours = unreaped.iter().filter(|name| *name != "pipsqueak-fs").collect::<Vec<_>>();
    assert!(ours.len() <= 1 && ours.iter().all(|name| *name == "pipsqueakd"), "{unreaped:?}");
}

//! The supervisor as a service whose manager keeps the mount's connection. It is killed, restarted
//! and stopped while the mount is in use. The tests play the manager.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use serde_json::json;

use super::succession::{Holder, another_build, programs, replace, server, while_importing};
use crate::harness::{Instance, Manager, Options, drop_caches, eventually};
use crate::tests;

tests!(
    imports_survive_deaths_of_the_supervisor,
    imports_survive_an_upgrade_of_everything,
    imports_wait_out_an_upgrade_that_does_not_start,
    functions_run_after_a_death_of_the_supervisor,
    an_end_in_order_leaves_nothing_with_the_manager,
    names_are_right_after_a_death_before_the_kernel_was_told,
    exports_show_the_same_after_a_death,
    a_server_that_hangs_is_ended_by_the_next_supervisor,
    only_the_connection_of_the_own_mount_is_taken_over,
    a_watchdog_is_fed;
    long imports_survive_many_deaths_of_the_supervisor,
);

fn start(manager: &mut Manager) -> Instance {
    Instance::start_managed(&Options::default(), manager)
}

/// Starts an instance whose programs can be replaced, with something to import.
fn start_of(programs: &Path, manager: &mut Manager) -> Instance {
    let options = Options { programs: Some(programs.to_owned()), ..Options::default() };
    let instance = Instance::start_managed(&options, manager);
    instance.ok(&["env", "add", "science", "pandas", "requests"]);
    instance
}

/// The number of successions of the mount's server in the life of this supervisor: one at the start.
fn successions(instance: &Instance) -> u64 {
    instance.status()["mount"]["successions"].as_u64().unwrap()
}

/// The number that tells a mount from others.
fn device(instance: &Instance) -> u64 {
    fs::metadata(instance.mount()).unwrap().dev()
}

fn names(instance: &Instance, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(instance.mount().join(folder)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn die_again_and_again(rounds: u64) {
    let mut manager = Manager::new();
    let instance = start(&mut manager);
    instance.ok(&["env", "add", "science", "pandas", "requests"]);
    let view = instance.mount().join("envs/science");
    let site = "envs/science/lib/python3.11/site-packages";
    let mut holder = Holder::start(&view.join("bin/python"), &instance.mount().join(site));
    let (before, mount) = (names(&instance, site), device(&instance));
    let kept = manager.kept();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let imports = while_importing(&instance, || {
        for round in 1..=rounds {
            if round % 2 == 0 {
                drop_caches();
            }
            // At another moment of the imports each time.
            thread::sleep(Duration::from_millis(round * 37 % 250));
            // Whatever the manager's way to end the rest of a service.
            manager.kill(round % 3 != 0);
            manager.start(&instance);
            assert_eq!(successions(&instance), 1, "round {round}");
            assert_eq!(device(&instance), mount, "round {round}");
        }
    });
    assert!(imports > 0);
    drop_caches();
    assert_eq!(names(&instance, site), before);
    holder.check();
    assert_eq!(manager.kept(), kept);
    assert_eq!(instance.status()["mount"]["requests"]["panic"], 0);
}

fn imports_survive_deaths_of_the_supervisor() {
    die_again_and_again(6);
}

fn imports_survive_many_deaths_of_the_supervisor() {
    die_again_and_again(60);
}

fn imports_survive_an_upgrade_of_everything() {
    let folder = crate::harness::folder();
    let programs = programs(folder.path());
    let mut manager = Manager::new();
    let instance = start_of(&programs, &mut manager);
    let mount = device(&instance);
    while_importing(&instance, || {
        for _ in 0..2 {
            drop_caches();
            for program in ["pipsqueakd", "pipsqueak-fs"].map(|name| programs.join(name)) {
                replace(&program, &another_build(&program));
            }
            // What systemd is told to send for a restart.
            let ended = manager.end(Signal::SIGUSR1);
            assert!(ended.success(), "{ended}");
            assert!(manager.has_heard("STOPPING=1"));
            assert_eq!(manager.kept().len(), 1);
            manager.start(&instance);
            assert_eq!((successions(&instance), device(&instance)), (1, mount));
        }
    });
}

fn imports_wait_out_an_upgrade_that_does_not_start() {
    let folder = crate::harness::folder();
    let programs = programs(folder.path());
    let mut manager = Manager::new();
    let instance = start_of(&programs, &mut manager);
    let mount = device(&instance);
    let server = programs.join("pipsqueak-fs");
    let sound = fs::read(&server).unwrap();
    while_importing(&instance, || {
        drop_caches();
        replace(&server, b"#!/bin/sh\nexit 1\n");
        manager.end(Signal::SIGUSR1);
        manager.begin(&instance);
        assert_eq!(manager.await_end().code(), Some(70));
        assert_eq!(manager.kept().len(), 1);
        replace(&server, &sound);
        manager.start(&instance);
        assert_eq!((successions(&instance), device(&instance)), (1, mount));
    });
}

fn functions_run_after_a_death_of_the_supervisor() {
    let mut manager = Manager::new();
    let instance = start(&mut manager);
    let code = "import six\ndef handler(event): return six.__name__\n";
    fs::write(instance.scratch().join("requirements.txt"), "six\n").unwrap();
    let requirements = instance.scratch().join("requirements.txt");
    instance.deploy("kept", code, &["-r", requirements.to_str().unwrap()]);
    for round in 0..3 {
        let answer = instance.invoke("kept", &json!({}));
        assert_eq!(answer["result"], "six", "round {round}: {answer}");
        if round == 1 {
            instance.await_zygotes();
        }
        manager.kill(round == 0);
        manager.start(&instance);
        assert_eq!(successions(&instance), 1, "round {round}");
    }
}

fn an_end_in_order_leaves_nothing_with_the_manager() {
    let mut manager = Manager::new();
    let instance = start(&mut manager);
    for by_signal in [true, false, true] {
        assert_eq!(manager.kept().len(), 1);
        let footprint = instance.footprint();
        let ended = if by_signal {
            manager.end(Signal::SIGTERM)
        } else {
            instance.ok(&["down"]);
            manager.await_end()
        };
        assert!(ended.success(), "{ended}");
        eventually("nothing is kept", || manager.keeps_nothing());
        crate::harness::wait_until_gone(&footprint);
        manager.start(&instance);
        assert_eq!(successions(&instance), 0);
    }
}

fn names_are_right_after_a_death_before_the_kernel_was_told() {
    let mut manager = Manager::new();
    let instance = start(&mut manager);
    for name in ["first", "second", "third"] {
        instance.ok(&["env", "add", name, "six"]);
    }
    let file = |name: &str, module: &str| {
        instance.mount().join(format!("envs/{name}/lib/python3.11/site-packages/{module}"))
    };
    // What the kernel is to remember, the absence of one included.
    assert_eq!(names(&instance, "envs"), ["first", "second", "third"]);
    assert!(["first", "second", "third"].iter().all(|name| file(name, "six.py").exists()));
    assert!(!instance.mount().join("envs/fourth").exists());
    let server = server(&instance);
    let published = instance.state().join("views/published.json");
    let shows =
        |name: &str| fs::read_to_string(&published).unwrap().contains(&format!("\"{name}\":\""));
    kill(server, Signal::SIGSTOP).unwrap();
    let mut removal = instance.command();
    let removal = removal.args(["env", "rm", "first"]).stderr(Stdio::null()).stdout(Stdio::null());
    let mut removal = removal.spawn().unwrap();
    eventually("its removal is published", || !shows("first"));
    manager.kill(true);
    removal.wait().unwrap();
    manager.start(&instance);
    assert_eq!(successions(&instance), 1);
    assert_eq!(names(&instance, "envs"), ["second", "third"]);
    assert!(!instance.mount().join("envs/first").exists());
    instance.ok(&["env", "add", "second", "idna"]);
    instance.ok(&["env", "add", "fourth", "six"]);
    manager.kill(true);
    manager.start(&instance);
    assert_eq!(names(&instance, "envs"), ["fourth", "second", "third"]);
    assert!(file("second", "idna").exists() && !file("second", "six.py").exists());
    assert!(file("third", "six.py").exists() && file("fourth", "six.py").exists());
}

fn exports_show_the_same_after_a_death() {
    let mut manager = Manager::new();
    let instance = start(&mut manager);
    instance.ok(&["env", "add", "science", "six"]);
    let line = instance.ok(&["env", "docker-args", "science"]);
    let source = line.split("source=").nth(1).and_then(|rest| rest.split(',').next());
    let view = Path::new(source.unwrap_or_else(|| panic!("{line}"))).join("env");
    let module = view.join("lib/python3.11/site-packages/six.py");
    let look = || {
        let found = fs::metadata(&view).unwrap();
        (found.ino(), fs::read(&module).unwrap())
    };
    let before = look();
    // A container would hold on to the folder around it.
    let open = fs::File::open(&view).unwrap();
    for all in [true, false] {
        drop_caches();
        manager.kill(all);
        manager.start(&instance);
        assert_eq!(look(), before);
        assert_eq!(open.metadata().unwrap().ino(), before.0);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert_eq!(mounts.matches(view.to_str().unwrap()).count(), 1, "{mounts}");
    }
    manager.end(Signal::SIGUSR1);
    manager.start(&instance);
    assert_eq!(look(), before);
}

fn a_server_that_hangs_is_ended_by_the_next_supervisor() {
    let mut manager = Manager::new();
    let instance = start(&mut manager);
    instance.ok(&["env", "add", "science", "six"]);
    let hanging = server(&instance);
    kill(hanging, Signal::SIGSTOP).unwrap();
    manager.kill(false);
    manager.start(&instance);
    assert_eq!(successions(&instance), 1);
    assert_ne!(server(&instance), hanging);
    assert_eq!(names(&instance, "envs"), ["science"]);
}

fn only_the_connection_of_the_own_mount_is_taken_over() {
    let (mut one, mut other) = (Manager::new(), Manager::new());
    let (first, second) = (start(&mut one), start(&mut other));
    first.ok(&["env", "add", "science", "six"]);
    // By its name, and by what the kernel says although the name fits.
    let [foreign] = <[_; 1]>::try_from(one.copies()).unwrap();
    let [own] = <[_; 1]>::try_from(other.copies()).unwrap();
    for (name, descriptor) in [(foreign.0, &foreign.1), (own.0.clone(), &foreign.1)] {
        assert!(other.end(Signal::SIGTERM).success());
        eventually("nothing is kept", || other.keeps_nothing());
        other.plant((name.clone(), descriptor.try_clone().unwrap()));
        other.start(&second);
        assert_eq!(successions(&second), 0);
        assert_eq!(other.kept().len(), 1);
        let [(_, kept)] = <[_; 1]>::try_from(other.copies()).unwrap();
        drop(kept);
        assert!(other.has_heard(&format!("FDNAME={name}")) && other.has_heard("FDSTOREREMOVE=1"));
    }
    // Its mount is gone.
    other.kill(true);
    umount2(&second.mount(), MntFlags::MNT_DETACH).unwrap();
    other.start(&second);
    assert_eq!(successions(&second), 0);
    second.ok(&["env", "add", "science", "idna"]);
    // Another mount is at its place, and what is no connection is under its name.
    other.kill(true);
    let [(name, _)] = <[_; 1]>::try_from(other.copies()).unwrap();
    let null = fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    other.plant((name, null.into()));
    nix::mount::mount(
        Some("none"),
        &second.mount(),
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
    other.begin(&second);
    eventually("it is not taken over", || other.has_heard("FDSTOREREMOVE=1"));
    eventually("it serves", || other.has_heard("READY=1"));
    assert_eq!(successions(&second), 0);
    assert_eq!(names(&second, "envs"), ["science"]);
    assert!(second.mount().join("envs/science/lib/python3.11/site-packages/idna").exists());
    assert_eq!(names(&first, "envs"), ["science"]);
    other.end(Signal::SIGTERM);
    // What it was mounted upon.
    umount2(&second.mount(), MntFlags::MNT_DETACH).unwrap();
    let _ = umount2(&second.mount(), MntFlags::MNT_DETACH);
}

fn a_watchdog_is_fed() {
    let mut manager = Manager::new();
    manager.variables = vec![("WATCHDOG_USEC", "100000".to_owned())];
    let instance = start(&mut manager);
    eventually("it is fed", || manager.has_heard("WATCHDOG=1"));
    let variables = fs::read(format!("/proc/{}/environ", server(&instance))).unwrap();
    let variables = String::from_utf8_lossy(&variables);
    for name in ["NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_"] {
        assert!(!variables.contains(name), "{name} is in {variables}");
    }
}

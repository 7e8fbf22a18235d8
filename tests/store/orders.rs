//! Random orders of additions, removals, collections, restarts and kills, compared with a simple
//! model. Everything that should be there can be imported, everything in use stays whole, and
//! nothing else stays.
//!
//! `PIPSQUEAK_TEST_SEED` repeats the order that a failure names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::Signal;

use super::collecting::{collect, held, sound};
use super::{python, site};
use crate::harness::{Index, Instance, Manager, Options, eventually, kill_9};
use crate::tests;

tests!(random_orders_leave_what_should_be_there; long many_random_orders_leave_what_should_be_there);

/// Steps of an order.
const STEPS: u32 = 12;
const PACKAGES: [&str; 4] = ["pa", "pb", "pc", "pd"];
const VERSIONS: [&str; 2] = ["1.0", "2.0"];
/// Prints the packages that can be imported, and their versions.
const IMPORT: &str = "
import importlib.util
for name in ['pa', 'pb', 'pc', 'pd']:
    if importlib.util.find_spec(name):
        print(name, __import__(name).VERSION)
";
/// Maps a file of its working folder; reads the file in both ways for each line.
const USE: &str = "
import mmap, os
descriptor = os.open('data.bin', os.O_RDONLY)
mapping = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
os.close(descriptor)
print('ready', flush=True)
while True:
    input()
    mapping.madvise(mmap.MADV_DONTNEED)
    print(sum(mapping[:]) == sum(open('data.bin', 'rb').read()) > 0, flush=True)
";

type Packages = BTreeMap<String, String>;

/// A process that uses an environment.
struct User {
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
    packages: Packages,
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Prints the steps of the order if the test fails.
struct Told {
    seed: u64,
    steps: Vec<String>,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("PIPSQUEAK_TEST_SEED={}: {:#?}", self.seed, self.steps);
        }
    }
}

/// An instance, its expected content, and the processes that use it.
struct Run {
    dice: fastrand::Rng,
    instance: Instance,
    manager: Option<Manager>,
    /// Serves as long as the run exists.
    _index: Index,
    environments: BTreeMap<String, Packages>,
    pins: BTreeMap<String, Packages>,
    users: Vec<User>,
}

fn random_orders_leave_what_should_be_there() {
    orders(2);
}

fn many_random_orders_leave_what_should_be_there() {
    orders(200);
}

fn orders(count: u64) {
    let said = std::env::var("PIPSQUEAK_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    let first = said.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let mut managed = Run::start(true);
    let mut alone = Run::start(false);
    for seed in first..first + if said.is_some() { 1 } else { count } {
        let run = if seed % 2 == 0 { &mut managed } else { &mut alone };
        run.carry_out(seed);
    }
}

fn index() -> Index {
    let index = Index::start(&[], &[], None);
    let mut wheels = Vec::new();
    let mut contents = Vec::new();
    for name in PACKAGES {
        for version in VERSIONS {
            // Some of it is of both versions, and some of all packages.
            let module = format!("VERSION = {version:?}\nSAME = {}\n", "[1, 2, 3] * 100");
            let data: Vec<u8> = format!("{name}{version}").bytes().cycle().take(70_000).collect();
            contents.push((name, version, module, data, format!("# of {name}\n")));
        }
    }
    for (name, version, module, data, own) in &contents {
        let at = |file: &str| -> &'static str { format!("{name}/{file}").leak() };
        let files = vec![
            (at("__init__.py"), module.as_bytes()),
            (at("data.bin"), data.as_slice()),
            (at("own.py"), own.as_bytes()),
            (at("common.py"), b"COMMON = True\n".as_slice()),
        ];
        wheels.push((*name, *version, files));
    }
    index.add_wheels(&wheels);
    index
}

impl Run {
    fn start(is_managed: bool) -> Self {
        let index = index();
        let options =
            Options { variables: vec![("UV_DEFAULT_INDEX", index.url(""))], ..Options::default() };
        let mut manager = is_managed.then(Manager::new);
        let instance = match &mut manager {
            Some(manager) => Instance::start_managed(&options, manager),
            None => Instance::start(&options),
        };
        let (dice, environments, pins, users) = Default::default();
        Self { dice, instance, manager, _index: index, environments, pins, users }
    }

    fn carry_out(&mut self, seed: u64) {
        let mut told = Told { seed, steps: Vec::new() };
        self.dice = fastrand::Rng::with_seed(seed);
        for _ in 0..STEPS {
            self.step(&mut told.steps);
            self.check();
        }
        told.steps.push("the end".to_owned());
        self.users.clear();
        for name in std::mem::take(&mut self.pins).into_keys() {
            self.instance.ok(&["store", "unpin", &name]);
        }
        for name in std::mem::take(&mut self.environments).into_keys() {
            self.instance.ok(&["env", "rm", &name]);
        }
        self.is_empty_at_last();
    }

    /// Checks that a collection removes everything, once nothing is needed.
    fn is_empty_at_last(&self) {
        eventually("all is collected", || {
            collect(&self.instance);
            self.instance.json(&["store", "du", "--json"])["on_disk"] == 0
        });
        sound(&self.instance);
    }

    fn step(&mut self, told: &mut Vec<String>) {
        let name = format!("e{}", self.dice.u8(..3));
        let packages = self.packages();
        match self.dice.u8(..12) {
            0..=2 => {
                told.push(format!("add {name} {packages:?}"));
                self.instance.ok(&adding(&name, &packages));
                self.environments.insert(name, packages);
            }
            3 => {
                told.push(format!("rm {name}"));
                let code = self.instance.call(&["env", "rm", &name]).code;
                assert_eq!(code == 0, self.environments.remove(&name).is_some());
            }
            4 | 5 => {
                told.push("gc".to_owned());
                self.collect();
            }
            6 => {
                told.push(format!("use {name}"));
                self.use_(&name);
            }
            7 => {
                told.push("release".to_owned());
                if !self.users.is_empty() {
                    let user = self.dice.usize(..self.users.len());
                    self.users.remove(user);
                }
            }
            8 => {
                told.push(format!("pin or unpin {name}"));
                self.pin(name);
            }
            9 => {
                told.push("restart".to_owned());
                self.restart();
            }
            10 => {
                let after = self.dice.u64(..600);
                let is_killed = self.dice.bool();
                told.push(format!(
                    "add {name} {packages:?} and gc, killed {is_killed}: {after} ms"
                ));
                self.both(&name, packages, is_killed.then_some(after));
            }
            _ => {
                told.push("kill".to_owned());
                self.kill();
            }
        }
    }

    fn packages(&mut self) -> Packages {
        let mut packages = Packages::new();
        for name in PACKAGES {
            if self.dice.bool() {
                let version = VERSIONS[self.dice.usize(..2)];
                packages.insert(name.to_owned(), version.to_owned());
            }
        }
        if packages.is_empty() {
            packages.insert("pa".to_owned(), "1.0".to_owned());
        }
        packages
    }

    /// Checks that a collection keeps everything needed; [`Run::is_empty_at_last`] checks the rest.
    fn collect(&mut self) {
        collect(&self.instance);
        let usage = self.instance.json(&["store", "du", "--json"]);
        let rows = usage["distributions"].as_array().unwrap();
        let stored: BTreeSet<String> = rows
            .iter()
            .map(|row| row["name"].as_str().unwrap())
            .filter(|name| !name.starts_with("venv-"))
            .map(|name| name.rsplit_once('-').unwrap().0.to_owned())
            .collect();
        let all = self.environments.values().chain(self.pins.values());
        let needed: BTreeSet<String> =
            all.flatten().map(|(name, version)| format!("{name}-{version}")).collect();
        assert!(needed.is_subset(&stored), "{needed:?} of {stored:?}");
    }

    fn use_(&mut self, name: &str) {
        let Some(packages) = self.environments.get(name) else { return };
        let package = packages.keys().next().unwrap();
        let mut using = Command::new("python3");
        using.args(["-c", USE]).current_dir(site(&self.instance, name).join(package));
        let (process, said) = held(&mut using);
        self.users.push(User { process, said, packages: packages.clone() });
    }

    fn pin(&mut self, name: String) {
        if self.pins.remove(&name).is_some() {
            self.instance.ok(&["store", "unpin", &name]);
        } else if let Some(packages) = self.environments.get(&name) {
            self.instance.ok(&["store", "pin", &name]);
            self.pins.insert(name, packages.clone());
        }
    }

    fn restart(&mut self) {
        if let Some(manager) = &mut self.manager {
            manager.end(Signal::SIGUSR1);
            manager.start(&self.instance);
        } else {
            self.instance.ok(&["upgrade"]);
        }
    }

    fn kill(&mut self) {
        if let Some(manager) = &mut self.manager {
            manager.kill(true);
            manager.start(&self.instance);
        } else {
            kill_9(&self.instance.status()["pid"]);
            eventually("it is up again", || self.instance.call(&["up"]).code == 0);
        }
    }

    /// Adds and collects at the same time; may kill the supervisor meanwhile.
    fn both(&mut self, name: &str, packages: Packages, killed: Option<u64>) {
        let spawn = |arguments: &[&str]| {
            let mut command = self.instance.command();
            command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let mut adding = spawn(&adding(name, &packages));
        let mut collecting = spawn(&["store", "gc", "--grace", "0"]);
        if let Some(after) = killed {
            std::thread::sleep(std::time::Duration::from_millis(after));
            self.kill();
        }
        let added = adding.wait().unwrap();
        let collected = collecting.wait().unwrap();
        assert!(killed.is_some() || (added.success() && collected.success()));
        // The old one or the new one, nothing between.
        let listed = self.instance.json(&["env", "ls", "--json"]);
        let is_there = listed.as_array().unwrap().iter().any(|one| one["name"] == name);
        if added.success() || (is_there && self.imported(name) == packages) {
            self.environments.insert(name.to_owned(), packages);
        }
    }

    fn imported(&self, name: &str) -> BTreeMap<String, String> {
        let output =
            Command::new(python(&self.instance, name)).args(["-c", IMPORT]).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let pairs = text.lines().map(|line| line.split_once(' ').unwrap());
        pairs.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
    }

    fn check(&mut self) {
        let listed = self.instance.json(&["env", "ls", "--json"]);
        let listed = listed.as_array().unwrap().iter();
        let names: BTreeSet<&str> = listed.map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, self.environments.keys().map(String::as_str).collect());
        for (name, packages) in &self.environments {
            assert_eq!(self.imported(name), *packages, "{name}");
        }
        for user in &mut self.users {
            user.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
            let said = user.said.next().expect("a process lost what it uses").unwrap();
            assert_eq!(said, "True", "{:?}", user.packages);
        }
        sound(&self.instance);
    }
}

/// The arguments of an addition, which are leaked, as they are few.
fn adding(name: &str, packages: &Packages) -> Vec<&'static str> {
    let mut arguments: Vec<&'static str> = vec!["env", "add", name.to_owned().leak()];
    for (package, version) in packages {
        arguments.push(format!("{package}=={version}").leak());
    }
    arguments
}

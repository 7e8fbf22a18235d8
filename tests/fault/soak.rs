//! Many invocations while zygotes, holders and functions are killed at random.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::{Instance, Options, eventually};
use crate::tests;

tests!(
    nothing_is_left_of_killed_processes;
    long nothing_is_left_of_ten_thousand_invocations,
);

/// The packages of environments: some share a part, some nothing.
const SETS: [&[&str]; 5] = [&["six"], &["six", "idna"], &["idna"], &["attrs", "six"], &["toolz"]];
/// Descriptors of views that zygotes may have of parts of these.
pub const VIEWS: usize = 4 * SETS.len();
/// Fewest invocations from one kill to the next.
const BETWEEN_KILLS: usize = 4;
/// Clients at once.
const CLIENTS: usize = 4;

fn nothing_is_left_of_killed_processes() {
    soak(20, 300, Duration::from_millis(100));
}

fn nothing_is_left_of_ten_thousand_invocations() {
    soak(200, 10_000, Duration::from_millis(250));
}

/// Invokes functions in turn while a process is killed at each `pace`. Each client gets an answer
/// or a reason, and at the end there is no more of anything than at the start.
fn soak(functions: usize, invocations: usize, pace: Duration) {
    let instance = Instance::start(&Options { memory: Some("2G"), ..Options::default() });
    let names: Vec<String> = (0..functions).map(|number| format!("f{number}")).collect();
    for (number, packages) in SETS.iter().enumerate() {
        instance.ok(&[["env", "add", &format!("e{number}")].as_slice(), packages].concat());
    }
    for (number, name) in names.iter().enumerate() {
        let set = number % SETS.len();
        let imports = SETS[set].iter().map(|name| name.replace("attrs", "attr"));
        let imports: Vec<_> = imports.collect();
        let code = format!(
            "import {}, tempfile\ndef handler(event):\n    tempfile.mkstemp()\n    return event\n",
            imports.join(", ")
        );
        instance.deploy(name, &code, &["--env", &format!("e{set}")]);
    }
    // What stays whatever was invoked: the supervisor, the mount's server, the maker, and open views.
    for name in &names[..SETS.len()] {
        instance.invoke(name, &json!(1));
    }
    instance.await_zygotes();
    let mut before = at_rest(&instance);
    before[4] += VIEWS;
    let (next, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let outcomes = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut random = 0x9e37_79b9_u64;
            let (mut killed, mut last) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(pace);
                // On a slow machine, all that is begun would be killed.
                let begun = next.load(Ordering::Relaxed);
                if begun < last + BETWEEN_KILLS {
                    continue;
                }
                last = begun;
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                killed += usize::from(kill_one(&instance, random >> 33));
            }
            killed
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= invocations {
                            return outcomes;
                        }
                        let name = &names[number * 7 % names.len()];
                        let output = instance.call(&["invoke", name, "-d", &number.to_string()]);
                        match output.code {
                            0 => assert_eq!(output.stdout.trim(), number.to_string()),
                            // It was killed while it served, or while it was being made.
                            1 | 70 => assert!(!output.stderr.trim().is_empty(), "{output:?}"),
                            _ => panic!("{output:?}"),
                        }
                        *outcomes.entry(output.code.to_string()).or_default() += 1;
                    }
                })
            })
            .collect();
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for client in clients {
            for (code, count) in client.join().unwrap() {
                *outcomes.entry(code).or_default() += count;
            }
        }
        done.store(true, Ordering::Relaxed);
        outcomes.insert("killed".to_owned(), killer.join().unwrap());
        outcomes
    });
    eprintln!("outcomes by exit code, and processes killed: {outcomes:?}");
    assert!(outcomes["killed"] > 0, "{outcomes:?}");
    assert!(outcomes["0"] * 10 > invocations * 8, "{outcomes:?}");
    eventually("no more is there than at the start", || {
        let now = at_rest(&instance);
        let is_no_more = now.iter().zip(&before).all(|(now, before)| now <= before);
        if !is_no_more {
            eprintln!("{now:?} where there were {before:?}");
        }
        is_no_more
    });
}

/// Kills a random process of a sandbox: a zygote, a holder, a spare or a function.
fn kill_one(instance: &Instance, random: u64) -> bool {
    let processes = instance.sandboxed();
    let Some(place) = usize::try_from(random).unwrap().checked_rem(processes.len()) else {
        return false;
    };
    kill(Pid::from_raw(processes[place]), Signal::SIGKILL).is_ok()
}

/// Counts of an idle instance: processes, control groups, mounts, temporary folders, and
/// descriptors of the supervisor.
pub fn at_rest(instance: &Instance) -> [usize; 5] {
    eventually("nothing is kept", || {
        instance.ok(&["evict"]);
        let status = instance.status();
        let is_empty = |what: &&str| status[what] == json!([]);
        ["sandboxes", "zygotes", "changing"].iter().all(is_empty) && status["growing"] == false
    });
    let footprint = instance.footprint();
    let groups = footprint.groups.iter().map(|group| {
        let inside = std::fs::read_dir(group).unwrap().flatten();
        inside.filter(|entry| entry.path().is_dir()).count()
    });
    let supervisor = &instance.status()["pid"];
    let descriptors = std::fs::read_dir(format!("/proc/{supervisor}/fd")).unwrap().count();
    let folders = |path: PathBuf| std::fs::read_dir(path).map_or(0, Iterator::count);
    [
        footprint.processes.len(),
        groups.sum(),
        footprint.mounts.len(),
        folders(instance.run()) + folders(instance.state().join("staging")),
        descriptors,
    ]
}

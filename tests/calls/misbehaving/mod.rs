//! Random handlers that misbehave, compared with a plain process that calls the same handler. The
//! outcome must be the same or a known limit, and the next call must be unharmed.
//!
//! `PIPSQUEAK_TEST_SEED` repeats the handler that a failure names. `PIPSQUEAK_TEST_ACTS` adds acts,
//! such as `raising.group,process.exits`. `PIPSQUEAK_TEST_HANDLERS` is the number of seeds.

mod judge;
mod limits;
mod oracle;

use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Instance, Options};
use crate::tests;
use judge::{Answer, judge};
use oracle::{Case, Oracle};

tests!(
    what_was_found_stays_mended,
    handlers_fare_as_in_a_plain_process,
    handlers_at_once_fare_as_in_a_plain_process;
    long many_handlers_fare_as_in_a_plain_process,
    many_handlers_at_once_fare_as_in_a_plain_process
);

/// Functions that run at the same time.
const FUNCTIONS: u64 = 4;
/// Calls at the same time in a shared process.
const CALLS: usize = 8;
/// Misbehaving calls among those, which touch nothing of the others.
const MISBEHAVING: usize = 4;
const FORKED: &str = "paused,zygote,ssd";
const FRESH: &str = "paused,ssd";

/// Acts that have found a fault, and the seeds that show it.
const FOUND: [(&str, &str); 15] = [
    // A zygote's streams remembered that its files have places in them, and none could be reconfigured.
    ("printing.reconfigured", "1+4"),
    ("printing.wrapped", "1"),
    // Where several share a process, what is no character was printed, and what is closed was printed to.
    ("printing.no_character", "1"),
    ("printing.closed", "1+2"),
    ("printing.detached", "1"),
    // A long message of such letters was cut twice, and the number of those left out was wrong.
    ("raising.long_text", "1+6"),
    // A process ended that had no number left for the descriptor that it was sent, or that may poll none.
    ("patches.descriptors_used_up,process.child_exits", "1+2"),
    ("patches.limits", "1+6"),
    // A file that has the number of what a signal is told by was always ready, and nothing else was heard.
    ("patches.descriptors,patches.descriptors_used_up", "1"),
    // A loop that could not run was run again, until the time was over.
    ("patches.running_loop,answers.awaited", "1"),
    ("answers.ends_its_loop", "1+4"),
    // How what was forked ends, and why a value is no JSON, was told by what was patched.
    ("patches.built_in,process.child_returns", "1+4"),
    ("patches.hooks,process.child_raises", "1+6"),
    ("patches.json_,answers.circular", "1+2"),
    // A value that is in itself was followed until the stack was full.
    ("patches.recursion,answers.circular", "1+6"),
];

fn what_was_found_stays_mended() {
    let handlers: Vec<_> = FOUND.iter().map(|(acts, seeds)| format!("{seeds}:{acts}")).collect();
    let faults: Vec<_> = [1, CALLS]
        .into_iter()
        .flat_map(|calls| Run::start(FORKED, calls).check(&handlers))
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn handlers_fare_as_in_a_plain_process() {
    check(1, 16);
}

fn handlers_at_once_fare_as_in_a_plain_process() {
    check(CALLS, 16);
}

fn many_handlers_fare_as_in_a_plain_process() {
    check(1, 1000);
}

fn many_handlers_at_once_fare_as_in_a_plain_process() {
    check(CALLS, 1000);
}

/// Checks `count` handlers, half of them forked from zygotes, the others in interpreters of their own.
fn check(concurrency: usize, count: u64) {
    let said = |name: &str| std::env::var(name).ok();
    let first = said("PIPSQUEAK_TEST_SEED").map(|seed| seed.parse().unwrap());
    let count = match said("PIPSQUEAK_TEST_HANDLERS") {
        Some(count) => count.parse().unwrap(),
        // One alone in each.
        None => first.map_or(count, |_| 2),
    };
    let first: u64 = first.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let acts = said("PIPSQUEAK_TEST_ACTS").map(|acts| format!(":{acts}")).unwrap_or_default();
    let faults: Vec<_> = [FORKED, FRESH]
        .into_iter()
        .enumerate()
        .flat_map(|(n, tiers)| {
            let begin = first
                + if said("PIPSQUEAK_TEST_SEED").is_some() { 0 } else { n as u64 * (count / 2) };
            let handlers = format!("{begin}+{}{acts}", count / 2);
            Run::start(tiers, concurrency).check(&[handlers])
        })
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// An instance in which handlers run.
struct Run {
    instance: Instance,
    folder: PathBuf,
    python: PathBuf,
    /// True if several calls share a process.
    is_shared: bool,
    tier: &'static str,
    faults: Mutex<Vec<String>>,
}

impl Run {
    fn start(tiers: &'static str, concurrency: usize) -> Self {
        let instance = Instance::start(&Options { tiers: Some(tiers), ..Options::default() });
        let folder = oracle::copy(&instance.scratch());
        let code = folder.join("handlers");
        let concurrency = concurrency.to_string();
        let limits = ["--sandboxes", "1", "--memory", "448M", "--timeout", "20"];
        for n in 0..FUNCTIONS {
            let deploy = ["deploy", &name(n), code.to_str().unwrap(), "--handler", "main.handler"];
            instance.ok(&[&deploy[..], &["--concurrency", &concurrency], &limits].concat());
        }
        instance.deploy("neighbour", "import sys\ndef handler(event): print(f'<{event}>'); return [event, sys.base_prefix]\n", &[]);
        let answer = instance.invoke("neighbour", &json!("first"));
        let python = PathBuf::from(answer["result"][1].as_str().unwrap()).join("bin/python3");
        instance.invoke(&name(0), &json!({ "call": "first", "wait": 0 }));
        let (is_shared, tier) = (concurrency != "1", tiers.split(',').nth(1).unwrap());
        if tier == "zygote" {
            instance.await_zygotes();
        }
        let faults = Mutex::default();
        Self { instance, folder, python, is_shared, tier, faults }
    }

    /// Checks handlers, named as the oracle takes them; returns the faults.
    fn check(self, handlers: &[String]) -> Vec<String> {
        let mode = if self.is_shared { "thread" } else { "main" };
        let oracle = Oracle::start(&self.python, &self.folder, mode, handlers);
        thread::scope(|scope| {
            for n in 0..FUNCTIONS / if self.is_shared { 2 } else { 1 } {
                let (run, oracle) = (&self, &oracle);
                scope.spawn(move || {
                    if run.is_shared {
                        run.check_several(oracle, &name(n));
                    } else {
                        run.check_each(oracle, &name(n));
                    }
                });
            }
        });
        oracle.end();
        self.faults.into_inner().unwrap()
    }

    fn fault(&self, case: &Case, wrong: &str) {
        let at = if self.is_shared { "at once" } else { "alone" };
        let fault = format!(
            "PIPSQUEAK_TEST_SEED={} [{}] {at}, {}: {wrong}",
            case.seed,
            case.acts(),
            self.tier
        );
        eprintln!("{fault}");
        self.faults.lock().unwrap().push(fault);
    }

    /// Checks handlers one after the other, each in a process of its own.
    fn check_each(&self, oracle: &Oracle, function: &str) {
        while let Some(case) = oracle.next() {
            let answer = Answer::of(&self.instance, function, &case.events[0]);
            for wrong in judge(&answer, &case, false) {
                self.fault(&case, &wrong);
            }
            self.check_next(function, &case, &answer);
        }
    }

    /// Checks the calls after that of `case`, which was answered with `answer`.
    fn check_next(&self, function: &str, case: &Case, answer: &Answer) {
        let next = Answer::of(&self.instance, function, &case.events[1]);
        let right = well(case.events[1]["call"].as_str().unwrap());
        // A process of its own has nothing of what was done.
        let is_printed = self.is_shared && limits::is_printed_all_the_same(case);
        let is_right = answer.has_ended() || is_printed || limits::has_left_a_timer(case);
        let then = if is_right { &right } else { &case.then };
        let mut wrong = Vec::new();
        let is_without_thread =
            self.is_shared && limits::is_without_threads(case) && next.is_without_thread();
        wrong.extend(next.differs(then).err().filter(|_| !is_without_thread));
        if is_without_thread {
            // It has not come to print anything.
        } else if is_printed {
            wrong.extend((!next.prints_well(case)).then(|| "prints nothing".to_owned()));
        } else if !answer.has_ended() || case.outcome["ended"].is_string() {
            wrong.extend(next.prints(case, 1, self.is_shared).err());
        }
        if !answer.has_ended() && next.tier != "paused" {
            wrong.push(format!("its process is gone: {}", next.told()));
        }
        let event = json!(format!("n{}", case.seed));
        let neighbour = self.instance.invoke("neighbour", &event);
        if neighbour["result"][0] != event || neighbour["logs"] != format!("<n{}>\n", case.seed) {
            wrong.push(format!("its neighbour: {neighbour}"));
        }
        for wrong in wrong {
            self.fault(case, &format!("the next call: {wrong} (after {})", answer.told()));
        }
        self.instance.ok(&["evict", function, "--paused"]);
    }

    /// Checks several handlers at once in one process, beside calls that behave well.
    fn check_several(&self, oracle: &Oracle, function: &str) {
        let mut waiting: Option<Case> = None;
        loop {
            let mut cases: Vec<Case> = waiting.take().into_iter().collect();
            // What they share is felt by all, so of those there is one.
            while cases.len() < MISBEHAVING && !cases.iter().any(|case| case.is("shared")) {
                let Some(case) = oracle.next() else { break };
                if case.is("shared") && !cases.is_empty() {
                    waiting = Some(case);
                    break;
                }
                cases.push(case);
            }
            if cases.is_empty() {
                return;
            }
            self.check_at_once(function, &cases);
        }
    }

    fn check_at_once(&self, function: &str, cases: &[Case]) {
        let first = &cases[0];
        let tokens: Vec<_> = (cases.len()..CALLS).map(|n| format!("b{}x{n}", first.seed)).collect();
        let (answers, others) = thread::scope(|scope| {
            let call =
                |event: Value| scope.spawn(move || Answer::of(&self.instance, function, &event));
            let others: Vec<_> =
                tokens.iter().map(|token| call(json!({ "call": token, "wait": 0.1 }))).collect();
            let answers: Vec<_> = cases.iter().map(|case| call(case.events[0].clone())).collect();
            let all = |calls: Vec<thread::ScopedJoinHandle<'_, Answer>>| -> Vec<Answer> {
                calls.into_iter().map(|call| call.join().unwrap()).collect()
            };
            (all(answers), all(others))
        });
        for (case, answer) in cases.iter().zip(&answers) {
            for wrong in judge(answer, case, true) {
                self.fault(case, &wrong);
            }
        }
        for (token, answer) in tokens.iter().zip(&others) {
            // What has ended the process is told to all in it; what it has put in the place of what all
            // share is felt by all.
            let is_like = |outcome: &Value| {
                let then = outcome
                    .to_string()
                    .replace(&first.token(1)[1..first.token(1).len() - 1], token);
                answer.differs(&serde_json::from_str(&then).unwrap()).is_ok()
            };
            let has_ended = answers[0].has_ended() && answer.has_ended();
            let is_felt =
                first.is("shared") && (is_like(&first.then) || answer.is_well_unprinted());
            let is_without_thread = limits::is_without_threads(first) && answer.is_without_thread();
            if !is_like(&well(token)) && !has_ended && !is_felt && !is_without_thread {
                self.fault(first, &format!("another call in the process: {}", answer.told()));
            }
        }
        self.check_next(function, first, &answers[0]);
    }
}

fn name(n: u64) -> String {
    format!("function{n}")
}

/// The outcome of a call that behaves well.
fn well(token: &str) -> Value {
    json!({ "result": format!("{{\"well\": \"{token}\", \"sum\": 499500, \"said\": null}}") })
}

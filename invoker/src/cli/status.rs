//! `pipsqueak status`: the status of the supervisor.

use std::collections::BTreeMap;
use std::fmt::Write;

use pipsqueak::size;
use pipsqueak::wire::{ChangingSandbox, SandboxChange, SandboxInfo, SandboxState, Status, Tier};

use super::args::{Format, Places};
use super::failure::{Exit, Failure};
use super::{ask_status, output, zygotes};

/// Carries the verb out.
pub fn run(places: &Places, format: &Format) -> Result<Exit, Failure> {
    let status = ask_status(places)?;
    if format.json { output::json(&status) } else { output::print(&describe(&status)) }
}

/// Number of requests. Other things are counted beside them.
fn requests(counted: &BTreeMap<String, u64>) -> u64 {
    let is_request = |name: &str| !matches!(name, "panic" | "read-bytes" | "decoded-frames");
    counted.iter().filter(|(name, _)| is_request(name)).map(|(_, count)| count).sum()
}

fn describe(status: &Status) -> String {
    let mount = &status.mount;
    let server = match mount.pid {
        Some(pid) => format!("served by process {pid}"),
        None => "between two servers".to_owned(),
    };
    let mut text = format!(
        "supervisor    {}, process {}\nstate         {}\nmount         {}, {server}, {} kernel \
         requests, {} successions\ntiers         {}\nmemory        {} of {}\nstarts        {}\n\
         functions     {}\nenvironments  {}\nevents        {} pending, {} running, {} dead\n\
         logs          {}\n",
        status.version,
        status.pid,
        status.state.display(),
        mount.path.display(),
        requests(&mount.requests),
        mount.successions,
        tiers(&status.tiers),
        size::format(status.memory_used),
        size::format(status.memory_budget),
        starts(status),
        status.functions,
        or_none(status.environments.join(", ")),
        status.events.pending,
        status.events.running,
        status.events.dead,
        size::format(status.log_bytes),
    );
    if !status.waiting.is_empty() {
        let waiting = status.waiting.iter().map(|(name, count)| format!("{count} of {name}"));
        let _ = writeln!(text, "waiting       {}", waiting.collect::<Vec<_>>().join(", "));
    }
    if status.damaged > 0 {
        let count = status.damaged;
        let _ =
            writeln!(text, "damaged       {count} objects; `pipsqueak store repair` mends them");
    }
    if status.standbys > 0 {
        let _ = writeln!(text, "standbys      {}", status.standbys);
    }
    if !status.zygotes.is_empty() {
        let _ = write!(text, "\n{}", zygotes::list(&status.zygotes));
    }
    if !status.sandboxes.is_empty() {
        let _ = write!(text, "\n{}", sandboxes(&status.sandboxes));
    }
    if !status.changing.is_empty() {
        let _ = write!(text, "\n{}", changing(&status.changing));
    }
    text
}

fn changing(sandboxes: &[ChangingSandbox]) -> String {
    let rows: Vec<_> = sandboxes
        .iter()
        .map(|s| {
            let state = match s.state {
                SandboxChange::Making => "making",
                SandboxChange::Ending => "ending",
            };
            [s.id.to_string(), s.standing.clone(), state.to_owned()]
        })
        .collect();
    output::table(["SANDBOX", "FOR", "STATE"], &rows)
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

fn tiers(tiers: &[Tier]) -> String {
    let all = tiers.iter().chain(&[Tier::Cold]).map(|tier| match tier {
        Tier::Paused => "paused",
        Tier::Zygote => "zygote",
        Tier::Ssd => "ssd",
        Tier::Cold => "cold",
    });
    all.collect::<Vec<_>>().join(", ")
}

fn starts(status: &Status) -> String {
    let found = ["paused", "zygote", "ssd", "cold"]
        .iter()
        .filter_map(|tier| status.starts.get(*tier).map(|count| format!("{count} {tier}")));
    or_none(found.collect::<Vec<_>>().join(", "))
}

fn sandboxes(sandboxes: &[SandboxInfo]) -> String {
    let rows: Vec<_> = sandboxes
        .iter()
        .map(|s| {
            [
                s.id.to_string(),
                s.function.clone(),
                s.pid.to_string(),
                match s.state {
                    SandboxState::Running => "running".to_owned(),
                    SandboxState::Paused => "paused".to_owned(),
                },
                s.invocations.to_string(),
                size::format(s.memory),
            ]
        })
        .collect();
    output::table(["SANDBOX", "FUNCTION", "PID", "STATE", "INVOCATIONS", "MEMORY"], &rows)
}

#[cfg(test)]
mod tests {
    use pipsqueak::wire::{ContainersStatus, EventCounts, MountStatus, ZygoteInfo};

    use super::*;

    /// The status of a supervisor that keeps nothing.
    fn empty() -> Status {
        Status {
            pid: 12,
            version: "0.1.0".to_owned(),
            state: "/s".into(),
            tiers: vec![Tier::Zygote],
            memory_budget: 2 << 30,
            memory_used: 0,
            group: "pipsqueak-0".to_owned(),
            containers: ContainersStatus { docker_plugin: None, cdi: None, views: Vec::new() },
            mount: MountStatus {
                path: "/m".into(),
                pid: None,
                successions: 1,
                requests: [
                    ("lookup".to_owned(), 3),
                    ("read".to_owned(), 4),
                    ("read-bytes".to_owned(), 512),
                ]
                .into(),
            },
            environments: Vec::new(),
            functions: 0,
            growing: false,
            zygotes: Vec::new(),
            standbys: 1,
            sandboxes: Vec::new(),
            changing: Vec::new(),
            waiting: [].into(),
            starts: [].into(),
            damaged: 0,
            events: EventCounts { dead: 3, ..EventCounts::default() },
            log_bytes: 2048,
        }
    }

    #[test]
    fn a_status_reads_well_full_and_empty() {
        let mut status = empty();
        let text = describe(&status);
        for part in [
            "0.1.0, process 12\n",
            "7 kernel requests",
            "zygote, cold\n",
            "starts        none",
            "0 running, 3 dead\n",
            "logs          2.0 KiB\n",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        status.starts = [("cold".to_owned(), 1), ("paused".to_owned(), 8)].into();
        status.zygotes.push(ZygoteInfo {
            id: 1,
            parent: None,
            pid: None,
            environment: "0123456789abcdef".to_owned(),
            state: "failed".to_owned(),
            modules: Vec::new(),
            reason: Some("leaves a thread".to_owned()),
            forks: 0,
            spares: 0,
            memory: 0,
        });
        status.damaged = 2;
        status.waiting = [("f".to_owned(), 3), ("g".to_owned(), 1)].into();
        let (standing, state) = ("zygote".to_owned(), SandboxChange::Ending);
        status.changing.push(ChangingSandbox { id: 7, standing, state });
        let text = describe(&status);
        assert!(text.contains("damaged       2 objects"), "{text}");
        assert!(text.contains("waiting       3 of f, 1 of g\n"), "{text}");
        assert!(text.ends_with("7        zygote  ending\n"), "{text}");
        assert!(
            text.contains("8 paused, 1 cold\n") && text.contains("leaves a thread\n"),
            "{text}"
        );
    }
}

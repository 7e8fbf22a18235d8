//! `pipsqueak store`: the cost of the store, and its care.

use std::fmt::Write;

use pipsqueak::size;
use pipsqueak::wire::{
    Checked, Collected, Cost, Finding, Repaired, Reply, Request, StoreRequest, Usage,
};

use super::args::{Places, StoreVerb};
use super::failure::{Exit, Failure};
use super::progress::Meter;
use super::{ask, output};

/// Carries the verb out.
pub fn run(places: &Places, verb: StoreVerb) -> Result<Exit, Failure> {
    let asked = |request, meter| ask(places, &Request::Store(request), meter);
    match verb {
        StoreVerb::Du(format) => match asked(StoreRequest::Du, Meter::still())? {
            Reply::Usage(usage) if format.json => output::json(&usage),
            Reply::Usage(usage) => output::print(&costs(&usage)),
            _ => Err(Failure::WrongReply),
        },
        StoreVerb::Gc { dry_run, grace, format } => {
            let grace_ms = grace.and_then(|grace| u64::try_from(grace.as_millis()).ok());
            match asked(StoreRequest::Gc { dry_run, grace_ms }, Meter::spinning())? {
                Reply::Collected(collected) if format.json => output::json(&collected),
                Reply::Collected(collected) => output::print(&collection(&collected)),
                _ => Err(Failure::WrongReply),
            }
        }
        StoreVerb::Fsck { archives, format } => {
            let request = if archives { StoreRequest::FsckArchives } else { StoreRequest::Fsck };
            check(asked(request, Meter::spinning())?, format.json)
        }
        StoreVerb::Scrub { rate, format } => {
            check(asked(StoreRequest::Scrub { rate }, Meter::spinning())?, format.json)
        }
        StoreVerb::Repair(format) => match asked(StoreRequest::Repair, Meter::spinning())? {
            Reply::Repaired(repaired) => {
                if format.json {
                    output::json(&repaired)?;
                } else {
                    output::print(&repairs(&repaired))?;
                }
                Ok(verdict(&repaired.findings))
            }
            _ => Err(Failure::WrongReply),
        },
        StoreVerb::Pin { name } => done(asked(StoreRequest::Pin { name }, Meter::still())?),
        StoreVerb::Unpin { name } => done(asked(StoreRequest::Unpin { name }, Meter::still())?),
    }
}

fn done(reply: Reply) -> Result<Exit, Failure> {
    match reply {
        Reply::Done { message } => output::line(message),
        _ => Err(Failure::WrongReply),
    }
}

fn check(reply: Reply, json: bool) -> Result<Exit, Failure> {
    let Reply::Checked(checked) = reply else { return Err(Failure::WrongReply) };
    if json {
        output::json(&checked)?;
    } else {
        output::print(&verdicts(&checked))?;
    }
    Ok(verdict(&checked.findings))
}

fn verdict(findings: &[Finding]) -> Exit {
    if findings.is_empty() { Exit::Done } else { Exit::Failed }
}

fn costs(usage: &Usage) -> String {
    let table = |title, costs: &[Cost]| {
        let rows: Vec<_> = costs
            .iter()
            .map(|cost| {
                let sizes = [cost.content, cost.alone, cost.shared].map(size::format);
                let [content, alone, shared] = sizes;
                [cost.name.clone(), content, alone, shared]
            })
            .collect();
        output::table([title, "CONTENT", "ALONE", "SHARED"], &rows)
    };
    let mut text = table("ENVIRONMENT", &usage.environments);
    let _ = write!(text, "\n{}\n", table("DISTRIBUTION", &usage.distributions));
    if !usage.pins.is_empty() {
        let _ = writeln!(text, "pinned      {}", usage.pins.join(", "));
    }
    for lease in &usage.leases {
        let view = &lease.view[..lease.view.len().min(12)];
        let _ = writeln!(text, "leased      {view} by {}", lease.holder);
    }
    let _ = write!(
        text,
        "content     {} in environments, {} without repetition\non disk     {}\ndead        {}\n",
        size::format(usage.content),
        size::format(usage.objects),
        size::format(usage.on_disk),
        size::format(usage.dead),
    );
    text
}

fn collection(collected: &Collected) -> String {
    let (would, verb) = if collected.dry_run { ("would be ", "would free") } else { ("", "freed") };
    let mut text = String::new();
    for (what, names) in
        [("environment", &collected.environments), ("distribution", &collected.distributions)]
    {
        for name in names {
            let _ = writeln!(text, "{what} {name} {would}dropped");
        }
    }
    let _ = writeln!(
        text,
        "{verb} {}: {} views, {} objects, {} archives; {} segments {would}removed, {} {would}rewritten",
        size::format(collected.bytes),
        collected.views,
        collected.objects,
        collected.archives,
        collected.segments_removed,
        collected.segments_rewritten,
    );
    if collected.waiting > 0 {
        let _ = writeln!(
            text,
            "{} more are out of reach, and go when they have been so for the grace period",
            collected.waiting
        );
    }
    text
}

fn list(findings: &[Finding]) -> String {
    let lines = findings
        .iter()
        .map(|found| format!("{}: {}\n    {}\n", found.file.display(), found.what, found.advice));
    lines.collect()
}

fn verdicts(checked: &Checked) -> String {
    let read = size::format(checked.bytes);
    if checked.findings.is_empty() {
        return format!("nothing is wrong; {read} checked\n");
    }
    format!("{}{} findings; {read} checked\n", list(&checked.findings), checked.findings.len())
}

fn repairs(repaired: &Repaired) -> String {
    let mut text = String::new();
    for name in &repaired.distributions {
        let _ = writeln!(text, "installed {name} again");
    }
    let _ =
        writeln!(text, "repaired {} objects and {} indexes", repaired.objects, repaired.indexes);
    text + &list(&repaired.findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_read_well() {
        let cost =
            |name: &str| Cost { name: name.to_owned(), content: 2048, alone: 0, shared: 512 };
        let usage = Usage {
            environments: vec![cost("science")],
            distributions: vec![cost("numpy-2.0-0123456789abcdef")],
            pins: vec!["science".to_owned()],
            leases: Vec::new(),
            content: 4096,
            objects: 2048,
            on_disk: 512,
            dead: 0,
        };
        let text = costs(&usage);
        assert!(text.contains("science      2.0 KiB  0 B    512 B\n"), "{text}");
        assert!(text.contains("pinned      science\n"), "{text}");
        let collected = Collected {
            dry_run: true,
            environments: Vec::new(),
            distributions: vec!["six-1".to_owned()],
            views: 1,
            objects: 3,
            segments_removed: 1,
            segments_rewritten: 0,
            archives: 2,
            bytes: 1024,
            waiting: 2,
        };
        let text = collection(&collected);
        assert!(text.contains("six-1 would be dropped\nwould free 1.0 KiB: 1 views"), "{text}");
        let found = Finding {
            file: "/s/1.segment".into(),
            what: "it is not there".to_owned(),
            advice: "repair it".to_owned(),
        };
        let checked = Checked { findings: vec![found], bytes: 0 };
        assert_eq!(verdict(&checked.findings) as u8, 1);
        assert!(
            verdicts(&checked).starts_with("/s/1.segment: it is not there\n    repair it\n1 f")
        );
    }
}

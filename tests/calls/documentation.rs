//! Commands of the pages work, and systemd understands the units that the pages tell people to install.

use std::process::Command;

use crate::harness::{Instance, Options, binary, cache};
use crate::pages::{blocks, repository};
use crate::tests;

tests!(the_pages_commands_work, the_pages_client_is_answered, systemd_understands_the_unit);

/// Pages whose commands are run, in reading order.
const PAGES: [&str; 8] = [
    "README.md",
    "docs/src/start.md",
    "docs/src/guide/packages.md",
    "docs/src/guide/logs.md",
    "docs/src/guide/events.md",
    "docs/src/guide/operate.md",
    "docs/src/guide/zygotes.md",
    "docs/src/guide/functions.md",
];

fn the_pages_commands_work() {
    let repository = repository();
    let instance = Instance::start(&Options::default());
    let folder = instance.scratch();
    std::os::unix::fs::symlink(repository.join("tools"), folder.join("tools")).unwrap();
    let sales = r#"{"sales": [{"product": "bread", "price": 2, "count": 2}]}"#;
    std::fs::write(folder.join("sales.json"), sales).unwrap();
    std::fs::write(folder.join("requirements.txt"), "pandas\nnumpy\nrequests\n").unwrap();
    std::fs::write(folder.join("constraints.txt"), "urllib3<3\n").unwrap();
    let path = format!(
        "{}:{}",
        binary("pipsqueak").parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    // The instance of this test is up already, and goes down by itself.
    let commands = PAGES
        .into_iter()
        .flat_map(|page| blocks(page, "sh"))
        .flat_map(|block| block.lines().map(ToOwned::to_owned).collect::<Vec<_>>())
        .map(|line| line.split('#').next().unwrap().trim().to_owned())
        // One never ends, one names what a reader has to look up.
        .filter(|line| !line.ends_with(" -f") && !line.ends_with(" ID"))
        .filter(|line| !line.is_empty() && line != "pipsqueak up" && line != "pipsqueak down");
    let mut count = 0;
    for command in commands {
        let command = command.replace("/pipsqueak/packages", instance.mount().to_str().unwrap());
        let output = Command::new("sh")
            .args(["-c", &command])
            .current_dir(&folder)
            .env("PATH", &path)
            .env("PIPSQUEAK_STATE", instance.state())
            .env("PIPSQUEAK_RUN", instance.run())
            .env("PIPSQUEAK_MOUNT", instance.mount())
            .env("PIPSQUEAK_CACHE", cache())
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        count += 1;
    }
    assert!(count >= 38, "only {count} commands found");
}

/// A client in another language, written from the page about the protocol alone.
fn the_pages_client_is_answered() {
    let instance = Instance::start(&Options::default());
    instance.deploy("totals", "def handler(event): return len(event['sales'])\n", &[]);
    let client = blocks("docs/src/reference/protocol.md", "python").concat();
    let mut python = instance.environment(Command::new("python3"));
    let output = python.args(["-c", &client]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let (pid, invocation) = said.split_once('\n').unwrap();
    assert_eq!(pid, instance.status()["pid"].to_string());
    assert!(invocation.contains("'result': 0"), "{invocation}");
}

fn systemd_understands_the_unit() {
    let repository = repository();
    let unit = std::fs::read_to_string(repository.join("tools/systemd/pipsqueak.service")).unwrap();
    // It must be a file that is there.
    let supervisor = binary("pipsqueakd");
    let unit = unit.replace("/usr/bin/pipsqueakd", supervisor.to_str().unwrap());
    let folder = crate::harness::folder();
    let path = folder.path().join("pipsqueak.service");
    std::fs::write(&path, unit).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg(&path).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("not checked: there is no systemd-analyze here");
        }
        checked => {
            let checked = checked.unwrap();
            let said = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success() && !said.contains("pipsqueak"), "{checked:?}");
        }
    }
}

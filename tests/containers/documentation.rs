//! Commands of the pages about containers work, with the names of the image and of this instance
//! replaced, and without a network.

use std::process::Command;

use super::engine::{Docker, IMAGE, ok};
use super::{environment, instance, podman};
use crate::harness::binary;
use crate::pages::blocks;
use crate::tests;

tests!(the_pages_commands_work);

fn the_pages_commands_work() {
    let pages = ["docs/src/guide/containers.md", "README.md"];
    let commands = pages.into_iter().flat_map(|page| blocks(page, "sh containers"));
    let commands = commands.collect::<String>();
    let compose = blocks(pages[0], "yaml").remove(0);

    let instance = instance(&["pandas"]);
    // Of its own: the pages' names are as good as any there.
    let docker = Docker::start();
    let podman = podman();
    let client = podman.command();
    let words = client.get_args().map(|word| word.to_str().unwrap());
    let flags = format!("run --network none {}", podman.groups().unwrap());
    let podman_run = [&["podman"], &words.collect::<Vec<_>>()[..], &[&flags]];
    let podman_run = podman_run.concat().join(" ");
    let here = |text: &str| {
        text.replace("python:3.11-slim", IMAGE)
            .replace("science", &environment(&instance))
            .replace("driver pipsqueak", &format!("driver {}", instance.driver()))
            .replace("driver: pipsqueak", &format!("driver: {}", instance.driver()))
            .replace("docker run", "docker run --network none")
            .replace("podman run", &podman_run)
    };
    let programs = binary("pipsqueak").parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    for command in [docker.command(), instance.command(), client] {
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    }
    ok(shell.env("PATH", path).args(["-e", "-c", &here(&commands)]));

    let folder = instance.scratch();
    let program = "    command: [python, -c, 'import pandas; print(pandas.__name__)']\n    \
                   network_mode: none\n    environment:";
    let file = here(&compose).replace("    environment:", program);
    std::fs::write(folder.join("docker-compose.yml"), format!("version: '3'\n{file}")).unwrap();
    let project = instance.driver().to_lowercase();
    let run = |arguments: &[&str]| {
        ok(docker.compose(&folder).args(["--project-name", &project]).args(arguments))
    };
    assert_eq!(run(&["run", "--rm", "-T", "app"]), "pandas\n");
    run(&["down", "--volumes"]);
    ok(docker.command().args(["volume", "rm", "packages"]));
}

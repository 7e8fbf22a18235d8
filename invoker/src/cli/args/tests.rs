//! Lines that are taken, and lines that are refused.

use std::time::Duration;

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(line.split(' '))
}

#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn every_verb_takes_the_place_of_its_instance() {
    for verb in [
        "up",
        "down",
        "doctor",
        "env ls",
        "env add e flask",
        "deploy f d",
        "functions ls",
        "invoke f",
        "invoke f --async",
        "invoke f --event",
        "logs f -f --since 10m -n 5 --request 1-2 --json",
        "events ls",
        "events ls f --dead",
        "events show 1-2",
        "evict",
        "status",
        "zygotes ls",
        "zygotes tree",
        "zygotes export",
        "zygotes import -",
        "explain f",
        "store du",
        "store gc --dry-run --grace 0",
        "store scrub --rate 50M",
    ] {
        let arguments = parse(&format!("pipsqueak {verb} --run /r --state /s")).unwrap();
        assert_eq!(arguments.places.0.run, Some("/r".into()), "{verb}");
        assert!(parse(&format!("pipsqueak --run /r {verb}")).is_ok(), "{verb}");
    }
}

#[test]
fn an_environment_has_packages_or_a_file() {
    assert!(parse("pipsqueak env add e flask numpy<3 --python python3.12").is_ok());
    assert!(parse("pipsqueak env add e -r requirements.txt").is_ok());
    assert!(parse("pipsqueak env add e -r a.txt -r b.txt -c c.txt --upgrade").is_ok());
    for (line, kind) in [
        ("pipsqueak env add e", ErrorKind::MissingRequiredArgument),
        ("pipsqueak env add e flask -r r.txt", ErrorKind::ArgumentConflict),
        ("pipsqueak deploy f d --env e -r r.txt", ErrorKind::ArgumentConflict),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{line}");
    }
}

#[test]
fn bad_values_are_wrong_usage() {
    for line in [
        "pipsqueak invoke ../f",
        "pipsqueak env show a/b",
        "pipsqueak deploy f d --memory 0",
        "pipsqueak deploy f d --cpus 0",
        "pipsqueak deploy f d --cpus 0.001",
        "pipsqueak deploy f d --cpus -1",
        "pipsqueak deploy f d --cpus nan",
        "pipsqueak deploy f d --cpus inf",
        "pipsqueak deploy f d --cpus many",
        "pipsqueak deploy f d --tmp 0",
        "pipsqueak deploy f d --tmp much",
        "pipsqueak deploy f d --timeout 0",
        "pipsqueak deploy f d --timeout -1",
        "pipsqueak deploy f d --timeout nan",
        "pipsqueak deploy f d --timeout 1e300",
        "pipsqueak deploy f d --concurrency 0",
        "pipsqueak deploy f d --concurrency 257",
        "pipsqueak deploy f d --sandboxes 0",
        "pipsqueak deploy f d --payload 0",
        "pipsqueak deploy f d --payload 65M",
        "pipsqueak invoke f --deadline 0",
        "pipsqueak deploy f d --network bridge",
        "pipsqueak deploy f d --set 1A=b",
        "pipsqueak deploy f d --set A",
        "pipsqueak evict --sandboxes",
        "pipsqueak store gc --grace -1",
        "pipsqueak store scrub --rate 0",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn values_are_read() {
    let line = "pipsqueak deploy f d --memory 1.5G --cpus 0.25 --tmp 64M --timeout 0.5 --set A=b=c --set B=";
    let Verb::Deploy(deploy) = parse(line).unwrap().verb else { panic!("another verb") };
    assert_eq!(deploy.memory, Some(3 << 29));
    assert_eq!((deploy.cpus, deploy.tmp), (Some(250), Some(64 << 20)));
    assert_eq!(deploy.timeout, Some(Duration::from_millis(500)));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(deploy.variables, [pair("A", "b=c"), pair("B", "")]);
    for data in ["-", "-5", "@f"] {
        let Verb::Invoke(invoke) = parse(&format!("pipsqueak invoke f -d {data}")).unwrap().verb
        else {
            panic!("another verb")
        };
        assert_eq!(invoke.data, data);
    }
}

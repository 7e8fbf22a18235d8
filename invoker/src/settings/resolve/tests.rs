use std::collections::HashMap;
use std::io::Write;

use std::path::Path;
use std::time::Duration;

use super::super::{Eviction, Index, LogLevel, Secrets, Tiers};
use super::*;

fn with_variables<T>(pairs: &[(&str, &str)], use_them: impl FnOnce(&Variables) -> T) -> T {
    let map: HashMap<&str, &str> = pairs.iter().copied().collect();
    use_them(&Variables(&|name| map.get(name).map(OsString::from)))
}

fn config(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let file = config("state = \"/file/s\"\nrun = \"/file/r\"\nmount = \"/file/m\"\nmemory = 1");
    let variables = [
        ("PIPSQUEAK_CONFIG", file.path().to_str().unwrap()),
        ("PIPSQUEAK_STATE", "/variable/s"),
        ("PIPSQUEAK_RUN", "/variable/r"),
        ("PIPSQUEAK_TIERS", "ssd"),
        ("PIPSQUEAK_MEMORY", ""),
        ("PIPSQUEAK_CDI", "/variable/cdi.json"),
    ];
    let flags = Overrides { state: Some("/flag/s".into()), ..Overrides::default() };
    let settings = with_variables(&variables, |v| Settings::resolve_with(flags, v)).unwrap();
    assert_eq!(settings.state, Path::new("/flag/s"));
    assert_eq!(settings.run, Path::new("/variable/r"));
    assert_eq!(settings.mount, Path::new("/file/m"));
    assert_eq!(settings.cache, Path::new("/flag/s/cache"));
    assert_eq!(settings.tiers, Tiers { ssd: true, ..Tiers::NONE });
    assert_eq!(settings.memory, 1);
    assert_eq!((settings.uv, settings.python), (None, None));
    assert_eq!(settings.cdi, Some("/variable/cdi.json".into()));
    // Docker's own place is for the instance in the usual folder.
    assert_eq!(settings.docker_plugin, None);
}

#[test]
fn nothing_said_means_the_documented_defaults() {
    let file = config("");
    let variables =
        [("PIPSQUEAK_CONFIG", file.path().to_str().unwrap()), ("PATH", "/nowhere:/bin")];
    let settings =
        with_variables(&variables, |v| Settings::resolve_with(Overrides::default(), v)).unwrap();
    assert_eq!(settings.state, Path::new("/var/lib/pipsqueak"));
    assert_eq!(settings.run, Path::new("/run/pipsqueak"));
    assert_eq!(settings.mount, Path::new("/pipsqueak/packages"));
    assert_eq!(settings.cache, Path::new("/var/lib/pipsqueak/cache"));
    assert_eq!(settings.docker_plugin, Some("/run/docker/plugins/pipsqueak.sock".into()));
    assert_eq!(settings.cdi, Some("/var/run/cdi/pipsqueak.json".into()));
    assert_eq!(settings.tiers, Tiers::ALL);
    assert!(settings.memory > 0);
    assert_eq!((settings.eviction, settings.spares), (Eviction::Lru, 8));
    assert_eq!(settings.linger, Duration::from_millis(5));
    assert!(settings.sandboxes >= 16 && settings.sandboxes.is_multiple_of(16));
    assert_eq!(settings.queue, 256);
    assert_eq!([settings.payload_in, settings.payload_out], [6_291_456; 2]);
    assert_eq!(settings.grace, Duration::from_secs(300));
    assert_eq!(settings.logs, 10 << 20);
}

#[test]
fn errors_name_where_the_value_came_from() {
    let file = config("run = \"/r\"\nruns = \"/r\"");
    let path = file.path().to_str().unwrap();
    let empty = config("");
    let empty_path = empty.path().to_str().unwrap();
    let message = |flags: Overrides, variables: &[(&str, &str)]| {
        with_variables(variables, |v| Settings::resolve_with(flags, v)).unwrap_err().to_string()
    };
    let flags = || Overrides { memory: Some("lots".into()), ..Overrides::default() };
    assert!(
        message(flags(), &[("PIPSQUEAK_CONFIG", empty_path)]).starts_with("--memory: `lots` is no")
    );
    let variables = [("PIPSQUEAK_CONFIG", empty_path), ("PIPSQUEAK_TIERS", "disk")];
    assert!(message(Overrides::default(), &variables).starts_with("PIPSQUEAK_TIERS: `disk` is no"));
    let of_file = message(Overrides::default(), &[("PIPSQUEAK_CONFIG", path)]);
    assert!(of_file.starts_with(&format!("{path}:2: unknown field `runs`")), "{of_file}");
    let missing = message(Overrides::default(), &[("PIPSQUEAK_CONFIG", "/nowhere/c.toml")]);
    assert!(missing.starts_with("reading the configuration file /nowhere/c.toml"), "{missing}");
    let variables = [("PIPSQUEAK_CONFIG", empty_path), ("PIPSQUEAK_UV", "/nowhere/uv")];
    assert!(message(Overrides::default(), &variables).starts_with("uv: /nowhere/uv: No such file"));
}

#[test]
fn a_client_reads_the_file_only_where_it_must() {
    let broken = config("nonsense");
    let path = broken.path().to_str().unwrap();
    with_variables(&[("PIPSQUEAK_CONFIG", path)], |variables| {
        let flags = Overrides { run: Some("/flag/r".into()), ..Overrides::default() };
        assert_eq!(run_folder_with(&flags, variables).unwrap(), Path::new("/flag/r"));
        assert!(run_folder_with(&Overrides::default(), variables).is_err());
    });
    with_variables(&[("PIPSQUEAK_CONFIG", path), ("PIPSQUEAK_RUN", "/v/r")], |variables| {
        assert_eq!(run_folder_with(&Overrides::default(), variables).unwrap(), Path::new("/v/r"));
    });
}

#[test]
fn relative_paths_of_flags_start_from_the_working_directory() {
    let flags = Overrides { run: Some("r".into()), ..Overrides::default() };
    let found = with_variables(&[], |v| run_folder_with(&flags, v)).unwrap();
    assert_eq!(found, std::env::current_dir().unwrap().join("r"));
}

#[test]
fn the_supervisor_is_told_every_setting() {
    let settings = Settings {
        state: "/s".into(),
        run: "/r".into(),
        mount: "/m".into(),
        cache: "/c".into(),
        uv: None,
        python: Some("/p".into()),
        tiers: Tiers::NONE,
        memory: 1024,
        eviction: Eviction::GreedyDual,
        linger: Duration::from_millis(5),
        spares: 2,
        sandboxes: 32,
        queue: 64,
        payload_in: 1,
        payload_out: 1,
        grace: Duration::from_millis(1500),
        logs: 1 << 20,
        log_level: LogLevel::Warn,
        docker_plugin: None,
        cdi: Some("/d.json".into()),
        fork_safe: Vec::new(),
        nat: Some("10.11.0.0/20".parse().unwrap()),
        index: Index::default(),
        secrets: Secrets::default(),
    };
    let line = settings.flags().join(&OsString::from(" "));
    let expected = "--state /s --run /r --mount /m --cache /c --tiers none --memory 1024 \
                    --eviction greedy-dual --linger 0.005 --spares 2 --sandboxes 32 --queue 64 \
                    --grace 1.5 --logs 1048576 --log-level warn --python /p --docker-plugin none --cdi /d.json \
                    --nat 10.11.0.0/20";
    assert_eq!(line, expected);
}

#[test]
fn the_flags_of_settings_come_to_the_same_settings() {
    let file = config("tiers = \"none\"\nlinger = 0.0125\nnat = \"10.11.0.0/20\"");
    let path = file.path().to_str().unwrap();
    let variables = [("PIPSQUEAK_CONFIG", path), ("PIPSQUEAK_CDI", "/c.json")];
    let first = with_variables(&variables, |v| Settings::resolve_with(Overrides::default(), v));
    let first = first.unwrap();
    let mut overrides = Overrides::default();
    for said in first.flags().chunks(2) {
        let (_, flag) = flags().find(|(_, flag)| said[0] == *flag.name).unwrap();
        flag.give(&mut overrides, said[1].clone());
    }
    let empty = config("");
    let variables = [("PIPSQUEAK_CONFIG", empty.path().to_str().unwrap())];
    let again = with_variables(&variables, |v| Settings::resolve_with(overrides, v)).unwrap();
    assert_eq!(again, first);
}

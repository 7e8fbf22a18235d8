//! Docker: by bind and by volume.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::engine::{Container, IMAGE, fails, ok};
use super::{SLEEP, docker, docker_args, environment, instance};
use crate::harness::{Instance, kept_caches};
use crate::tests;

tests!(
    the_printed_arguments_give_an_environment,
    a_volume_gives_an_environment,
    nothing_can_be_changed_from_inside,
    ten_containers_share_one_page_cache,
    what_cannot_be_is_told_by_docker,
);

/// Arguments of `docker run` that mount a volume of an instance.
fn volume_args(name: &str) -> [String; 4] {
    let site = "PYTHONPATH=/pipsqueak/env/lib/python3.11/site-packages";
    ["--volume".to_owned(), format!("{name}:/pipsqueak"), "--env".to_owned(), site.to_owned()]
}

fn texts(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn create_volume(instance: &Instance, name: &str) {
    let option = format!("env={}", environment(instance));
    let mut command = docker().command();
    ok(command.args(["volume", "create", "--driver", instance.driver(), "--opt", &option, name]));
}

fn remove_volume(name: &str) {
    ok(docker().command().args(["volume", "rm", name]));
}

fn inspect_volume(name: &str) -> Value {
    let text = ok(docker().command().args(["volume", "inspect", name]));
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

fn the_printed_arguments_give_an_environment() {
    let instance = instance(&["six"]);
    // The image's interpreter is elsewhere than the environment's, and nobody is root in it.
    let mut arguments = docker_args(&instance);
    arguments.extend(["--user".to_owned(), "1234".to_owned()]);
    let code = "import six, sys, importlib.metadata as m; print(sys.prefix, six.__file__, m.version('six'))";
    let printed = docker().run(&texts(&arguments), &["python3", "-c", code]);
    let frozen = instance.ok(&["env", "freeze", &environment(&instance)]);
    let version = frozen.trim().strip_prefix("six==").unwrap();
    let file = "/pipsqueak/env/lib/python3.11/site-packages/six.py";
    assert_eq!(printed, format!("/usr/local {file} {version}\n"));
    // It is the same where a shell takes it apart.
    let line = format!(
        "docker run --rm --network none $(pipsqueak env docker-args {}) {IMAGE} python3 -c 'import six'",
        environment(&instance)
    );
    let mut shell = Command::new("sh");
    for command in [docker().command(), instance.command()] {
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    }
    let programs = crate::harness::binary("pipsqueak").parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    ok(shell.env("PATH", path).args(["-c", &line]));
}

fn a_volume_gives_an_environment() {
    let instance = instance(&["six"]);
    let name = instance.driver();
    create_volume(&instance, name);
    assert_eq!(inspect_volume(name)["Options"]["env"], environment(&instance));
    assert_eq!(inspect_volume(name)["Status"]["mounts"], 0);
    let code = "import six; print(six.__file__)";
    let printed = docker().run(&texts(&volume_args(name)), &["python3", "-c", code]);
    assert_eq!(printed, "/pipsqueak/env/lib/python3.11/site-packages/six.py\n");

    let containers = [(); 2].map(|()| docker().start_container(&texts(&volume_args(name)), SLEEP));
    assert_eq!(inspect_volume(name)["Status"]["mounts"], 2);
    let place = inspect_volume(name)["Mountpoint"].as_str().unwrap().to_owned();
    assert!(place.starts_with(instance.run().to_str().unwrap()), "{place}");
    // The volume is there after a restart of the supervisor, and so are its mounts.
    instance.ok(&["down"]);
    instance.up();
    assert_eq!(inspect_volume(name)["Status"]["mounts"], 2);
    let said = fails(docker().command().args(["volume", "rm", name]));
    assert!(said.contains("in use"), "{said}");
    containers.into_iter().for_each(Container::remove);
    assert_eq!(inspect_volume(name)["Status"]["mounts"], 0);
    remove_volume(name);
}

fn nothing_can_be_changed_from_inside() {
    let instance = instance(&["six"]);
    let code = "
import errno, os
site = '/pipsqueak/env/lib/python3.11/site-packages/'
def refused(act):
    try:
        act()
    except OSError as error:
        assert error.errno == errno.EROFS, error
    else:
        raise AssertionError('not refused')
refused(lambda: open(site + 'six.py', 'w'))
refused(lambda: open(site + 'new.py', 'w'))
refused(lambda: os.remove(site + 'six.py'))
refused(lambda: os.utime(site + 'six.py'))
refused(lambda: os.chmod(site + 'six.py', 0o777))
refused(lambda: open('/pipsqueak/new', 'w'))
refused(lambda: os.rmdir('/pipsqueak/env'))
print('unchanged')
";
    let program = ["python3", "-c", code];
    let arguments = docker_args(&instance);
    assert_eq!(docker().run(&texts(&arguments), &program), "unchanged\n");
    // Also of a volume that nobody has asked to be read-only.
    let name = instance.driver();
    create_volume(&instance, name);
    assert_eq!(docker().run(&texts(&volume_args(name)), &program), "unchanged\n");
    remove_volume(name);
}

fn ten_containers_share_one_page_cache() {
    let instance = instance(&["numpy"]);
    let arguments = docker_args(&instance);
    let code = format!("import numpy; print('imported', flush=True); {SLEEP}");
    let bytes_read = || instance.status()["mount"]["requests"]["read-bytes"].as_u64().unwrap();
    let _caches = kept_caches();
    let mut containers = vec![imported(&arguments, &code)];
    let first = bytes_read();
    containers.extend((1..10).map(|_| imported(&arguments, &code)));
    let others = bytes_read() - first;
    // Pages of libraries that the first had no use for, and what the kernel reads ahead of those.
    assert!(
        first > 10 << 20 && others * 20 <= first,
        "{first} bytes by the first, {others} by nine"
    );

    // The library's pages are each in memory once: some tenth of them is each container's share.
    let library = "_multiarray_umath";
    let mappings: Vec<_> = containers.iter().map(|one| mapping(one.pid(), library)).collect();
    let inodes: BTreeSet<_> = mappings.iter().map(|mapping| mapping.inode.clone()).collect();
    assert_eq!(inodes.len(), 1, "{inodes:?}");
    for mapping in &mappings {
        assert!(mapping.resident > 1000, "{mapping:?}");
        // Which pages are mapped around one that is asked for differs with where the library is.
        assert!(mapping.share * 5 <= mapping.resident, "{mapping:?}");
    }
}

/// Starts a container and waits until it has printed that its import is done.
fn imported(arguments: &[String], code: &str) -> Container {
    let container = docker().start_container(&texts(arguments), code);
    crate::harness::eventually("it is imported", || {
        ok(docker().command().args(["logs", container.id()])).contains("imported")
    });
    container
}

/// The mapped text of a library in a process: the file, and the size in memory in KiB.
#[derive(Debug)]
struct Mapping {
    inode: String,
    resident: u64,
    share: u64,
}

fn mapping(pid: i32, library: &str) -> Mapping {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut lines = text.lines();
    let head = lines.find(|line| line.contains(library) && line.contains(" r-xp ")).unwrap();
    let fields: Vec<_> = head.split_whitespace().collect();
    let mut value = |name: &str| {
        let line = lines.find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let (resident, share) = (value("Rss:"), value("Pss:"));
    Mapping { inode: format!("{} {}", fields[3], fields[4]), resident, share }
}

fn what_cannot_be_is_told_by_docker() {
    let instance = instance(&["six"]);
    let create = |options: &[&str]| {
        let mut command = docker().command();
        command.args(["volume", "create", "--driver", instance.driver()]).args(options);
        fails(command.arg("never"))
    };
    let said = create(&["--opt", "env=nothing"]);
    assert!(said.contains("there is no environment nothing; `pipsqueak env ls`"), "{said}");
    let said = create(&["--opt", "size=3"]);
    assert!(said.contains("a volume has the option env=NAME and no other"), "{said}");
    // An environment that goes leaves its volume, which cannot be mounted.
    let name = instance.driver();
    create_volume(&instance, name);
    instance.ok(&["env", "rm", &environment(&instance)]);
    let mut command = docker().command();
    command.args(["run", "--rm", "--network", "none"]).args(volume_args(name));
    let said = fails(command.args([IMAGE, "python3", "-V"]));
    assert!(said.contains(&format!("there is no environment {name}")), "{said}");
    remove_volume(name);
    let output = instance.call(&["env", "docker-args", "nothing"]);
    assert_eq!(output.code, 4, "{output:?}");
}

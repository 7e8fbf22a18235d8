//! Sources are read as they are, and nothing else is: links, special files, and files that change meanwhile.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{deploy, deployed, folder, refused};
use crate::harness::{Instance, Options, SmallDisk, shared};
use crate::tests;

tests!(
    other_things_than_files_and_folders_are_refused_by_name,
    what_is_swapped_meanwhile_is_read_nowhere_else,
    a_file_counts_as_what_it_becomes,
);

const HANDLER: (&str, &str) = ("handler.py", "def handler(event): return 1\n");

fn run(program: &str, arguments: &[&str], path: &Path) {
    let done = Command::new(program).args(arguments).arg(path).status().unwrap();
    assert!(done.success(), "{program}");
}

fn other_things_than_files_and_folders_are_refused_by_name() {
    let instance = shared();
    let source = folder(&instance, "odd", &[HANDLER, ("data/a.txt", "a")]);
    let _socket = UnixListener::bind(source.join("data/socket")).unwrap();
    std::fs::rename(source.join("data/socket"), instance.scratch().join("socket")).unwrap();
    let odd = source.join("data/odd");
    let in_turn: [(&dyn Fn(), &str); 6] = [
        (&|| run("mkfifo", &[], &odd), "odd: it is a pipe"),
        (
            &|| std::fs::rename(instance.scratch().join("socket"), &odd).unwrap(),
            "odd: it is a socket",
        ),
        (
            &|| {
                let made = Command::new("mknod").arg(&odd).args(["c", "1", "3"]).status();
                assert!(made.unwrap().success());
            },
            "odd: it is a device",
        ),
        (&|| symlink("/etc/shadow", &odd).unwrap(), "odd: it is a link to /etc/shadow"),
        (&|| symlink("../handler.py", &odd).unwrap(), "odd: it is a link to ../handler.py"),
        (&|| symlink("/", &odd).unwrap(), "odd: it is a link to /"),
    ];
    for (make, says) in in_turn {
        make();
        let output = deploy(&instance, "odd", &source, &[]);
        refused(&output, says);
        assert!(output.stderr.contains("data/odd"), "{output:?}");
        std::fs::remove_file(&odd).unwrap();
    }
    assert_eq!(instance.call(&["functions", "show", "odd"]).code, 4);
    // Nobody waits for what is named itself, either.
    for name in ["pipe.py", "pipe.zip", "pipe.whl"] {
        let pipe = instance.scratch().join(name);
        run("mkfifo", &[], &pipe);
        refused(&deploy(&instance, "odd", &pipe, &[]), "neither a file nor a folder");
    }
    let deep = source.join("d/".repeat(200));
    std::fs::create_dir_all(&deep).unwrap();
    refused(&deploy(&instance, "odd", &source, &[]), "64 folders deep");
    std::fs::remove_dir_all(source.join("d")).unwrap();
    for number in 0..70_000 {
        std::fs::File::create(source.join(format!("data/{number}"))).unwrap();
    }
    refused(&deploy(&instance, "odd", &source, &[]), "more than 65536 files and folders");
    std::fs::remove_dir_all(source.join("data")).unwrap();
    deployed(&instance, "odd", &source, &[]);
    instance.ok(&["functions", "rm", "odd"]);
}

/// True if a file below a folder contains a text.
fn has_below(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            (kind.is_dir() && has_below(&path, text))
                || (kind.is_file()
                    && std::fs::read(&path).is_ok_and(|found| found == text.as_bytes()))
        })
    })
}

/// A file, and the folder of another file, alternate with links to secrets while they are read.
fn what_is_swapped_meanwhile_is_read_nowhere_else() {
    const SECRET: &str = "what nobody else may read";
    let instance = shared();
    let secret = folder(&instance, "secret", &[("data.txt", SECRET)]);
    let files = [HANDLER, ("data.txt", "plain"), ("inner/data.txt", "plain")];
    let source = folder(&instance, "swapped", &files);
    // A listing is as old as the time that copying these takes.
    for number in 0..500 {
        std::fs::write(source.join(format!("{number}.txt")), "plain").unwrap();
    }
    symlink(secret.join("data.txt"), instance.scratch().join("link")).unwrap();
    symlink(&secret, instance.scratch().join("folder-link")).unwrap();
    let is_over = AtomicBool::new(false);
    let swap = |one: &Path, other: &Path| {
        let parked = other.with_extension("parked");
        std::fs::rename(one, &parked).unwrap();
        std::fs::rename(other, one).unwrap();
        std::fs::rename(&parked, other).unwrap();
    };
    let mut refusals = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                swap(&source.join("data.txt"), &instance.scratch().join("link"));
                swap(&source.join("inner"), &instance.scratch().join("folder-link"));
            }
        });
        for number in 0..15 {
            let name = format!("swapped{number}");
            let output = deploy(&instance, &name, &source, &[]);
            refusals += usize::from(output.code != 0);
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert!(!has_below(&instance.state().join("functions"), SECRET), "{refusals} were refused");
    assert!(refusals > 0);
    for number in 0..15 {
        instance.call(&["functions", "rm", &format!("swapped{number}")]);
    }
}

fn a_file_counts_as_what_it_becomes() {
    let disk = SmallDisk::new("256M");
    let state = disk.path().join("state").to_str().unwrap().to_owned();
    let variables = vec![("PIPSQUEAK_STATE", state)];
    let instance = Instance::start(&Options { variables, ..Options::default() });
    let source = folder(&instance, "sparse", &[HANDLER]);
    for (name, bytes) in [("holes.bin", 1 << 40), ("handler.py", (512 << 20) + 1)] {
        let file =
            std::fs::File::options().create(true).append(true).open(source.join(name)).unwrap();
        file.set_len(bytes).unwrap();
        refused(&deploy(&instance, "sparse", &source, &[]), "larger than 512 MiB");
        std::fs::remove_file(source.join(name)).unwrap();
    }
    let alone = source.join("alone.py");
    std::fs::File::create(&alone).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(deploy(&instance, "sparse", &alone, &[]).code, 2);
    let zip = source.join("holes.zip");
    std::fs::File::create(&zip).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(deploy(&instance, "sparse", &zip, &[]).code, 2);
}

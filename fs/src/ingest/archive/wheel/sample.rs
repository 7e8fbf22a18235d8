//! Wheels for tests.

use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::interpreter::Interpreter;

/// The archive of a wheel `thing` 1.0 with some files besides its metadata.
pub fn wheel(files: &[(&str, &str)]) -> Arc<File> {
    let info = |name: &str| format!("thing-1.0.dist-info/{name}");
    let (about, record) = (info("WHEEL"), info("RECORD"));
    let usual = [(&*about, "Wheel-Version: 1.0\n"), (&*record, "")];
    let usual = usual.iter().filter(|(name, _)| !files.iter().any(|(other, _)| name == other));
    let mut writer = ZipWriter::new(tempfile::tempfile().unwrap());
    for (path, content) in files.iter().chain(usual) {
        let mode = if path.strip_suffix(".sh").is_some() { 0o755 } else { 0o644 };
        let options = SimpleFileOptions::default().unix_permissions(mode);
        writer.start_file(*path, options).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    let mut file = writer.finish().unwrap();
    file.rewind().unwrap();
    Arc::new(file)
}

/// An interpreter that is not here.
pub fn interpreter() -> Interpreter {
    let text = r#"{ "executable": "/usr/bin/python3.11", "version": "3.11.7",
        "base_prefix": "/usr", "cache_tag": "cpython-311", "implementation": "cpython",
        "platform": "linux-x86_64" }"#;
    serde_json::from_str(text).unwrap()
}

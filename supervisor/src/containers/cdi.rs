//! Environments as devices of the Container Device Interface: a file that Podman, containerd and
//! Docker read when a container is made with `--device pipsqueak.dev/env=NAME`.

use std::fs::{Permissions, remove_file};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pipsqueak::wire::Export;
use serde_json::{Value, json};

/// The kind of the devices: vendor and class.
const KIND: &str = "pipsqueak.dev/env";
/// The oldest version that has all that is used: an engine refuses what is newer than itself.
const VERSION: &str = "0.5.0";

/// True if an environment's name can be a device's, which ends in a letter or digit.
pub fn can_name_a_device(name: &str) -> bool {
    name.ends_with(|last: char| last.is_ascii_alphanumeric())
}

/// Describes environments by name at `path`, for the readers at once: there is always the old file
/// or the new one. A description without a device is refused by engines, so none means no file.
pub fn write(path: &Path, environments: &[(String, Export)]) -> io::Result<()> {
    if environments.is_empty() {
        return match remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    // Engines read what ends in .json or .yaml.
    let mut file =
        tempfile::Builder::new().prefix(".pipsqueak-").suffix(".new").tempfile_in(folder)?;
    file.write_all(description(environments).to_string().as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

fn description(environments: &[(String, Export)]) -> Value {
    let devices: Vec<_> = environments.iter().map(|(name, export)| device(name, export)).collect();
    json!({ "cdiVersion": VERSION, "kind": KIND, "devices": devices })
}

fn device(name: &str, export: &Export) -> Value {
    let variables: Vec<_> =
        export.variables.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mount = json!({
        "hostPath": export.source,
        "containerPath": export.target,
        "options": ["ro", "rbind", "rslave", "nosuid", "nodev"],
    });
    json!({ "name": name, "containerEdits": { "env": variables, "mounts": [mount] } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_there_as_long_as_an_environment_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipsqueak.json");
        let export = Export {
            source: "/run/pipsqueak/exports/ab".into(),
            target: "/pipsqueak".into(),
            variables: [("PYTHONPATH".to_owned(), "/pipsqueak/env/lib".to_owned())].into(),
        };
        write(&path, &[("science".to_owned(), export)]).unwrap();
        let found: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let device = &found["devices"][0];
        assert_eq!(found["kind"], "pipsqueak.dev/env");
        assert_eq!(device["name"], "science");
        assert_eq!(device["containerEdits"]["env"], json!(["PYTHONPATH=/pipsqueak/env/lib"]));
        assert_eq!(device["containerEdits"]["mounts"][0]["hostPath"], "/run/pipsqueak/exports/ab");
        write(&path, &[]).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        write(&path, &[]).unwrap();
    }

    #[test]
    fn names_that_no_engine_takes_are_known() {
        assert!(can_name_a_device("a") && can_name_a_device("web-1.2"));
        assert!(!can_name_a_device("web-") && !can_name_a_device("web."));
    }
}

//! Docker's volume driver protocol: what an engine asks, and what it is answered.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use super::engine::Engine;
use super::error::ContainersError;
use super::given::Given;
use super::volumes::Volume;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's status code.
    pub status: u16,
    /// JSON, whose `Err` is empty if it went well.
    pub body: Value,
}

/// Content of an engine's question; each question has some of it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Question {
    name: String,
    #[serde(rename = "ID")]
    id: String,
    opts: Option<BTreeMap<String, String>>,
}

/// Answers the question at `path` with the body `text`. Blocks.
pub fn answer(given: &Given, path: &str, text: &[u8], engine: Engine) -> Answer {
    let question = if text.trim_ascii().is_empty() {
        Ok(Question::default())
    } else {
        serde_json::from_slice(text)
    };
    let question = match question {
        Ok(question) => question,
        Err(error) => return failed(400, &format!("unreadable question: {error}")),
    };
    match dispatch(given, path, &question, engine) {
        None => failed(404, &format!("{path} is not known")),
        Some(Ok(body)) => Answer { status: 200, body },
        // What Docker's own library for drivers answers; 404 would mean that the question is not known.
        Some(Err(error)) => failed(500, &error.to_string()),
    }
}

fn dispatch(
    given: &Given,
    path: &str,
    question: &Question,
    engine: Engine,
) -> Option<Result<Value, ContainersError>> {
    let (name, id) = (question.name.as_str(), question.id.as_str());
    Some(match path {
        "/Plugin.Activate" => Ok(json!({ "Implements": ["VolumeDriver"] })),
        "/VolumeDriver.Capabilities" => Ok(json!({ "Capabilities": { "Scope": "local" } })),
        "/VolumeDriver.Create" => create(given, question).map(|()| done()),
        "/VolumeDriver.Remove" => given.remove_volume(name).map(|()| done()),
        "/VolumeDriver.Mount" => given.mount_volume(name, id, engine).map(|at| place(Some(at))),
        "/VolumeDriver.Unmount" => given.unmount_volume(name, id).map(|()| done()),
        "/VolumeDriver.Path" => find(given, name).map(|(_, at)| place(at)),
        "/VolumeDriver.Get" => find(given, name)
            .map(|(volume, at)| json!({ "Volume": described(name, &volume, at), "Err": "" })),
        "/VolumeDriver.List" => given.volumes().map(|all| {
            let all = all.into_iter().map(|(name, (volume, at))| described(&name, &volume, at));
            json!({ "Volumes": all.collect::<Vec<_>>(), "Err": "" })
        }),
        _ => return None,
    })
}

fn create(given: &Given, question: &Question) -> Result<(), ContainersError> {
    // Without the option, a volume is of the environment that it is called like.
    let mut environment = &question.name;
    for (option, value) in question.opts.iter().flatten() {
        match option.as_str() {
            "env" => environment = value,
            other => return Err(ContainersError::Option(other.to_owned())),
        }
    }
    given.create_volume(&question.name, environment)
}

fn find(given: &Given, name: &str) -> Result<(Volume, Option<PathBuf>), ContainersError> {
    let found = given.volumes()?.remove(name);
    found.ok_or_else(|| ContainersError::UnknownVolume(name.to_owned()))
}

fn described(name: &str, volume: &Volume, at: Option<PathBuf>) -> Value {
    json!({
        "Name": name,
        "Mountpoint": at.unwrap_or_default(),
        "Status": { "env": volume.environment, "mounts": volume.mounts.len() },
    })
}

fn place(at: Option<PathBuf>) -> Value {
    json!({ "Mountpoint": at.unwrap_or_default(), "Err": "" })
}

fn done() -> Value {
    json!({ "Err": "" })
}

/// An answer that says why there is none.
pub fn failed(status: u16, message: &str) -> Answer {
    Answer { status, body: json!({ "Err": message }) }
}

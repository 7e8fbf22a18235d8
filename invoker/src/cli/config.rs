//! `pipsqueak config`: the settings in force, and their origins.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use pipsqueak::client::{Client, ClientError};
use pipsqueak::settings::{self, Setting, Settings};
use pipsqueak::wire::{Reply, Request};
use serde::Serialize;

use super::args::{ConfigVerb, Places};
use super::failure::{Exit, Failure};
use super::output;

/// Greatest width of a key and its value in the layout, in characters.
const WIDEST: usize = 50;

/// A setting, and its value in the supervisor that runs at this place.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    setting: Setting,
    /// The supervisor's value; absent if no supervisor runs, or if it has the same value.
    running: Option<String>,
}

/// Carries the verb out.
pub fn run(places: Places, verb: ConfigVerb) -> Result<Exit, Failure> {
    match verb {
        ConfigVerb::Show { flags, format } => {
            let flags = flags.at(places);
            let told = Settings::explain(&flags)?;
            let run = settings::run_folder(&flags)?;
            let running = ask_running(&run)?;
            let shown: Vec<_> = told.into_iter().map(|one| compare(one, &running)).collect();
            if format.json { output::json(&shown) } else { output::print(&describe(&shown)) }
        }
        ConfigVerb::Check { file } => {
            let file = file.unwrap_or_else(settings::config_file);
            Settings::check_file(&file)?;
            output::line(format!("{}: nothing is wrong with it", file.display()))
        }
    }
}

/// Settings in force of the supervisor whose socket is in the folder; none if no supervisor answers.
fn ask_running(run: &Path) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let mut client = match Client::connect(run) {
        // A user who may not ask the supervisor can still be told the file's settings.
        Err(ClientError::NoSupervisor { .. } | ClientError::Denied { .. }) => {
            return Ok(BTreeMap::new());
        }
        connected => connected?,
    };
    match client.call(&Request::Settings, &mut |_| {})? {
        Reply::Settings { settings } => Ok(settings),
        _ => Err(Failure::WrongReply),
    }
}

fn compare(setting: Setting, running: &BTreeMap<String, Option<String>>) -> Shown {
    let has = running.get(setting.key).filter(|has| **has != setting.value);
    let running = has.map(|has| has.clone().unwrap_or_else(|| "nothing".to_owned()));
    Shown { setting, running }
}

fn describe(all: &[Shown]) -> String {
    let line = |Shown { setting: Setting { key, value, .. }, .. }: &Shown| match value {
        Some(value) => format!("{key} = {value}"),
        None => format!("# {key} has no value"),
    };
    let widest = all.iter().map(|one| line(one).chars().count()).max().unwrap_or_default();
    let width = widest.min(WIDEST);
    let mut text = String::new();
    for one in all {
        let _ = write!(text, "{:width$}  # {}", line(one), one.setting.origin);
        if let Some(running) = &one.running {
            let _ = write!(text, "; the running supervisor has {running}");
        }
        text.push('\n');
    }
    text
}

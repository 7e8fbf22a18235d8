//! `pipsqueak zygotes`: interpreters with packages imported.

use pipsqueak::size;
use pipsqueak::wire::ZygoteInfo;

use super::args::{Places, ZygotesVerb};
use super::failure::{Exit, Failure};
use super::{output, status};

/// Carries the verb out.
pub fn run(places: &Places, verb: ZygotesVerb) -> Result<Exit, Failure> {
    match verb {
        ZygotesVerb::Ls(format) => {
            let zygotes = status::ask_status(places)?.zygotes;
            if format.json { output::json(&zygotes) } else { output::print(&list(&zygotes)) }
        }
    }
}

/// Zygotes as a table.
pub fn list(zygotes: &[ZygoteInfo]) -> String {
    let rows: Vec<_> = zygotes
        .iter()
        .map(|z| {
            [
                z.id.to_string(),
                z.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                z.environment.chars().take(12).collect(),
                z.state.clone(),
                z.forks.to_string(),
                z.spares.to_string(),
                size::format(z.memory),
                z.reason.clone().unwrap_or_else(|| z.modules.join(" ")),
            ]
        })
        .collect();
    output::table(
        ["ZYGOTE", "PID", "ENVIRONMENT", "STATE", "FORKS", "SPARES", "MEMORY", "MODULES"],
        &rows,
    )
}

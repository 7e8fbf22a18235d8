//! The page of settings in the reference, which is made from the table.

use std::fmt::Write;
use std::path::Path;

use super::table::{Row, TABLE};

/// The variable with which the test writes the page.
const WRITE: &str = "WRITE_PAGES";

const HEAD: &str = "\
# Settings

A setting is taken from a flag of `up`, then from a variable, then from `/etc/pipsqueak/config.toml` (or the file that
`PIPSQUEAK_CONFIG` names), then from the default. `pipsqueak config show` prints what that comes to, where each value comes
from, and what a running supervisor has instead. `pipsqueak config check FILE` checks a file without starting anything: an
error has its line and reason.

| key | what | value, such as | default |
|---|---|---|---|
";

fn page() -> String {
    let mut text = HEAD.to_owned();
    for Row { key, help, default, example, more, .. } in TABLE {
        let more =
            more.map_or_else(String::new, |more| format!(". {}", more.trim_end_matches('.')));
        let _ = writeln!(text, "| `{key}` | {help}{more} | `{example}` | {default} |");
    }
    let of_file: Vec<_> =
        TABLE.iter().filter(|row| row.flag.is_none()).map(|row| row.key).collect();
    let of_file = of_file.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>();
    let (last, others) = of_file.split_last().unwrap();
    let _ = write!(
        text,
        "\n\
         Each has a flag and a variable of its name (`docker_plugin`: `--docker-plugin`, `PIPSQUEAK_DOCKER_PLUGIN`), except\n\
         {} and {last}, which are for the file alone.\n",
        others.join(", ")
    );
    text
}

#[test]
fn the_page_says_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/reference/settings.md");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == page(),
        "the page of settings is out of date; run `{WRITE}=1 cargo test -p pipsqueak page` to write it"
    );
}

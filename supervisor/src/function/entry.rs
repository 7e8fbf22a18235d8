//! Which function of which module handles requests, where that is not said.

use std::fs;
use std::path::Path;

/// Modules that are looked at, in this order: a single file's own, OpenLambda's, AWS Lambda's, and
/// what people otherwise call theirs.
const MODULES: [&str; 6] = ["f", "lambda_function", "handler", "main", "app", "index"];
/// Functions that are looked for, in this order.
const FUNCTIONS: [&str; 5] = ["handler", "lambda_handler", "f", "handle", "main"];

/// Finds `module.function` in a folder of code, by name alone: nothing is imported.
///
/// `single` is the module of a deployed single file.
pub fn find(code: &Path, single: Option<&str>) -> Option<String> {
    let modules = single.into_iter().chain(MODULES);
    modules.into_iter().find_map(|module| {
        let text = fs::read_to_string(code.join(format!("{module}.py"))).ok()?;
        let function = FUNCTIONS.iter().find(|function| defines(&text, function))?;
        Some(format!("{module}.{function}"))
    })
}

fn defines(text: &str, function: &str) -> bool {
    text.lines().any(|line| {
        line.strip_prefix("def ")
            .and_then(|rest| rest.trim_start().strip_prefix(function))
            .is_some_and(|rest| rest.trim_start().starts_with('('))
    })
}

/// Whether a handler is of the form `module.function`, the module dotted where it is in a package.
pub fn is_well_formed(handler: &str) -> bool {
    let identifier = |part: &str| {
        !part.is_empty()
            && !part.starts_with(|first: char| first.is_ascii_digit())
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    handler.contains('.') && handler.split('.').all(identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_name_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(folder.path(), None), None);
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("main.py", "import os\ndef main (event):\n    pass\n");
        assert_eq!(find(folder.path(), None).as_deref(), Some("main.main"));
        write("lambda_function.py", "def lambda_handler(event, context): ...\n");
        assert_eq!(find(folder.path(), None).as_deref(), Some("lambda_function.lambda_handler"));
        write("mine.py", "    def handler(self): ...\ndef f(event): ...\n");
        assert_eq!(find(folder.path(), Some("mine")).as_deref(), Some("mine.f"));
    }

    #[test]
    fn handlers_are_checked() {
        assert!(is_well_formed("app.handler"));
        assert!(is_well_formed("package.app.handler"));
        for bad in ["handler", "", ".handler", "app.", "a b.c", "../x.y", "1app.x"] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}

//! Imports that a function's code shows without being run: the first guess of its needs, until a start
//! tells.

mod definitions;
mod statements;
mod tokens;

use std::collections::BTreeSet;

pub use definitions::{Definition, definitions};
pub use statements::{Import, imports};

/// Most files that are read for one function.
const FILES: usize = 500;

/// Modules that the code names, without the function's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guess {
    /// Modules that are imported if the code runs.
    pub modules: BTreeSet<String>,
    /// `a.b` of `from a import b`, which may be a module or any other attribute.
    pub perhaps: BTreeSet<String>,
}

/// Finds the imports of a module of a function, and those of the function's own modules that it
/// imports. `source` returns the text of a file by its path in the function's folder.
pub fn scan(module: &str, source: impl Fn(&str) -> Option<String>) -> Guess {
    let mut guess = Guess::default();
    let mut seen = BTreeSet::new();
    let mut open = vec![module.to_owned()];
    while let Some(module) = open.pop() {
        if seen.len() >= FILES || !seen.insert(module.clone()) {
            continue;
        }
        let Some((text, is_package)) = own(&module, &source) else { continue };
        for import in imports(&text) {
            let Some(base) = absolute(&import, &module, is_package) else { continue };
            for name in prefixes(&base) {
                note(name.to_owned(), &source, &mut open, &mut guess.modules);
            }
            for name in import.names.iter().filter(|_| !base.is_empty()) {
                note(format!("{base}.{name}"), &source, &mut open, &mut guess.perhaps);
            }
            // `from . import b` in a top-level module: without a package, `b` is taken for a top-level one.
            for name in import.names.iter().filter(|_| base.is_empty()) {
                note(name.clone(), &source, &mut open, &mut guess.modules);
            }
        }
    }
    guess.perhaps.retain(|name| !guess.modules.contains(name));
    guess
}

/// Adds a module to `open` if it is the function's own, else to `found`.
fn note(
    name: String,
    source: &impl Fn(&str) -> Option<String>,
    open: &mut Vec<String>,
    found: &mut BTreeSet<String>,
) {
    let top = name.split('.').next().unwrap_or_default();
    if own(top, source).is_some() {
        open.push(name);
    } else {
        found.insert(name);
    }
}

/// A module of the function's folder: its text, and true if it is a package.
fn own(module: &str, source: &impl Fn(&str) -> Option<String>) -> Option<(String, bool)> {
    let path = module.replace('.', "/");
    let package = source(&format!("{path}/__init__.py")).map(|text| (text, true));
    package.or_else(|| source(&format!("{path}.py")).map(|text| (text, false)))
}

/// The absolute name of an imported module; a relative import depends on the importing module. `None`
/// if the import leads above the top-level package.
fn absolute(import: &Import, module: &str, is_package: bool) -> Option<String> {
    if import.level == 0 {
        return Some(import.module.clone());
    }
    let mut parts: Vec<&str> = module.split('.').collect();
    let up = import.level - usize::from(is_package);
    if up > parts.len() {
        return None;
    }
    parts.truncate(parts.len() - up);
    parts.extend(import.module.split('.').filter(|part| !part.is_empty()));
    Some(parts.join("."))
}

/// `a`, `a.b` and `a.b.c` of `a.b.c`: importing a module imports the packages around it.
fn prefixes(module: &str) -> impl Iterator<Item = &str> {
    let ends = module.match_indices('.').map(|(end, _)| end).chain([module.len()]);
    ends.map(|end| &module[..end]).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn guess(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let files: HashMap<&str, &str> = files.iter().copied().collect();
        let guess = scan("main", |path| files.get(path).map(|text| (*text).to_owned()));
        (guess.modules.into_iter().collect(), guess.perhaps.into_iter().collect())
    }

    #[test]
    fn own_modules_are_followed_and_not_told() {
        let (modules, perhaps) = guess(&[
            ("main.py", "import helper, app.views\nfrom sub import *\nfrom . import beside\n"),
            ("helper.py", "import requests.adapters as r"),
            ("beside.py", "import sys"),
            ("app/__init__.py", "from .models import Model\nfrom ..outside import x"),
            ("app/views.py", "from . import forms\nfrom .deep.er import a\nfrom .. import gone"),
            ("app/models.py", "from sqlalchemy import orm"),
            ("app/forms.py", "import wtforms"),
            ("app/deep/__init__.py", "from ...helper import also"),
            ("app/deep/er.py", "from .. import models"),
            ("unused.py", "import torch"),
        ]);
        let expected = [
            "gone",
            "outside",
            "requests",
            "requests.adapters",
            "sqlalchemy",
            "sub",
            "sys",
            "wtforms",
        ];
        assert_eq!(modules, expected);
        assert_eq!(perhaps, ["outside.x", "sqlalchemy.orm"]);
    }

    #[test]
    fn modules_that_import_each_other_end() {
        let (modules, _) = guess(&[("main.py", "import a"), ("a.py", "import main, json")]);
        assert_eq!(modules, ["json"]);
    }

    proptest! {
        #[test]
        fn anything_is_scanned(text in any::<String>(), pieces in prop::collection::vec(
            prop::sample::select(vec![
                "import ", "from ", "a", ".", "..", "(", ")", "\"", "'''", "\"\"\"", "\\\n", "\n", "#",
                "f\"", "r'", ",", " as ", "*", ";", ":", "if TYPE_CHECKING:\n", "  ", "__import__(", "é",
                "def ", "async ", "=",
            ]), 0..60))
        {
            imports(&text);
            definitions(&text);
            definitions(&pieces.concat());
            scan("main", |path| (path == "main.py").then(|| pieces.concat()));
        }

        #[test]
        fn an_import_is_found_among_what_is_none(
            before in prop::collection::vec(noise(), 0..6),
            after in prop::collection::vec(noise(), 0..6),
            indent in 0usize..3,
        ) {
            let block = ["", "def f():\n    ", "if x:\n  if y:\n    "][indent];
            let text = format!("{}{block}import wanted.here\n{}", before.concat(), after.concat());
            let found: Vec<String> = imports(&text).into_iter().map(|one| one.module).collect();
            prop_assert_eq!(found, ["wanted.here"], "{}", text);
        }
    }

    /// Whole statements that import nothing, though they look like it.
    fn noise() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "x = 'import a'\n",
            "x = \"\"\"\nimport a\nfrom b import c\n\"\"\"\n",
            "# import a\n",
            "x = r'\\'; y = 1 # import a\n",
            "x = f(\n  'import a',\n  \"#\", # import b\n)\n",
            "raise A from b\n",
            "def g():\n    yield from a\n",
            "x = {'import': 1, 'a': lambda: 3}\n",
            "x = '''\nimport a \\'''\nimport b'''\n",
            "y = x.imports + important\n",
            "x = '\\\nimport a'\n",
            "x = f\"{y['from']} import a\"\n",
            "if TYPE_CHECKING:\n    import a\n    from b import c\n",
            "x[1:2] = b'import a', rb\"\"\"import a\"\"\"\n",
        ])
        .prop_map(ToOwned::to_owned)
    }
}

//! The entry point of a function that names none: the function and module that handle requests. The
//! code is read, not run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pipsqueak_policy::scan::{Definition, definitions};

/// Environment variables that tell OpenLambda a function's entry point: a file, and the name of a WSGI
/// or ASGI application in it.
const ENTRY_FILE: &str = "OL_ENTRY_FILE";
const APPLICATIONS: [&str; 2] = ["OL_WSGI_ENTRY", "OL_ASGI_ENTRY"];

/// Name of an entry point, with the kind of definition that it must have.
#[derive(Debug, Clone, Copy)]
enum Named {
    /// A function.
    Function(&'static str),
    /// A function or an assigned value, as in `handler = Mangum(app)`.
    Any(&'static str),
}

/// Names that handle events.
const HANDLERS: &[Named] = &[
    Named::Any("handler"),
    Named::Any("lambda_handler"),
    Named::Function("f"),
    Named::Function("handle"),
    Named::Function("main"),
];
/// Names that handle events, for places with many other definitions.
const SURE_HANDLERS: &[Named] = &[Named::Any("handler"), Named::Any("lambda_handler")];
/// Names that serve HTTP.
const APPS: &[Named] = &[Named::Any("app"), Named::Any("application")];
/// Names that OpenLambda takes from its entry file.
const OPENLAMBDA: &[Named] = &[Named::Any("f"), Named::Any("app"), Named::Any("application")];
/// Usual names of a module with an entry point, at the top of the code's folder.
const MODULES: &[&str] = &["handler", "main", "app", "index"];

/// Longest file of code that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Reason that no entry point was found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// No definition looks like an entry point.
    #[error(
        "no handler found: looked for f.f, lambda_function.lambda_handler, then a function handler, \
         lambda_handler, f, handle or main with a parameter, then an application app or application; \
         name it with --handler module.function"
    )]
    Nothing,
    /// Several definitions look like one.
    #[error(
        "several functions could be meant: {}; name one with --handler, and deploy the folder again \
         under another name for each of the others",
        .0.join(", ")
    )]
    Several(Vec<String>),
    /// The file that a variable names has no entry point.
    #[error("{ENTRY_FILE} is {0:?}, and that file has no function f and no application app")]
    File(String),
}

/// Modules that a step looks at.
#[derive(Debug, Clone, Copy)]
enum Where {
    /// The module of this name, at the top of the code's folder.
    Module(&'static str),
    /// Modules with a usual name, and a deployed single file.
    Usual,
    /// All modules at the top of the code's folder.
    Top,
    /// Modules with one of these names in a package.
    Packages(&'static [&'static str]),
}

/// Steps of the search, in order. The first step that finds something decides.
const STEPS: &[(Where, &[Named])] = &[
    (Where::Module("f"), OPENLAMBDA),
    (Where::Module("lambda_function"), &[Named::Any("lambda_handler")]),
    (Where::Usual, HANDLERS),
    (Where::Top, SURE_HANDLERS),
    (Where::Usual, APPS),
    (Where::Top, APPS),
    (Where::Packages(&["handler", "main", "app", "lambda_function"]), SURE_HANDLERS),
    (Where::Packages(&["__init__", "main", "app", "wsgi"]), APPS),
    (Where::Packages(&["asgi"]), APPS),
];

/// Finds `module.function` in a folder of code.
///
/// `single` is the module of a deployed single file; `variables` are the function's.
pub fn find(
    code: &Path,
    single: Option<&str>,
    variables: &BTreeMap<String, String>,
) -> Result<String, EntryError> {
    if let Some(file) = variables.get(ENTRY_FILE) {
        return named(code, file, variables).ok_or_else(|| EntryError::File(file.clone()));
    }
    let modules = Modules::read(code);
    let found: Vec<_> =
        STEPS.iter().map(|(place, names)| modules.find(*place, single, names)).collect();
    let Some(first) = found.iter().position(|found| !found.is_empty()) else {
        return Err(EntryError::Nothing);
    };
    if let [only] = found[first].as_slice() {
        return Ok(only.clone());
    }
    let mut all = Vec::new();
    for one in found.into_iter().flatten() {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    Err(EntryError::Several(all))
}

/// Entry point that OpenLambda's variables name.
fn named(code: &Path, file: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    let module = file.strip_suffix(".py")?.replace('/', ".");
    well_formed(&format!("{module}.f"))?;
    if let Some(name) = APPLICATIONS.iter().find_map(|name| variables.get(*name)) {
        return Some(format!("{module}.{name}"));
    }
    let text = read(&code.join(file))?;
    Some(format!("{module}.{}", defined(&text, OPENLAMBDA)?))
}

/// The texts of modules, by their names.
struct Modules {
    top: BTreeMap<String, String>,
    inner: BTreeMap<(String, String), String>,
}

impl Modules {
    fn read(code: &Path) -> Self {
        let (mut top, mut inner) = (BTreeMap::new(), BTreeMap::new());
        for name in names(code) {
            if let Some(module) = name.strip_suffix(".py") {
                top.extend(read(&code.join(&name)).map(|text| (module.to_owned(), text)));
                continue;
            }
            let package = code.join(&name);
            if !fs::symlink_metadata(&package).is_ok_and(|metadata| metadata.is_dir()) {
                continue;
            }
            let wanted = STEPS.iter().flat_map(|(place, _)| match place {
                Where::Packages(modules) => *modules,
                _ => &[],
            });
            for module in wanted {
                let text = read(&package.join(format!("{module}.py")));
                inner.extend(text.map(|text| ((name.clone(), (*module).to_owned()), text)));
            }
        }
        Self { top, inner }
    }

    /// Entry points of a step: of each module, the first of `names` that it defines.
    fn find(&self, place: Where, single: Option<&str>, names: &[Named]) -> Vec<String> {
        let in_top = |wanted: &dyn Fn(&str) -> bool| {
            let modules = self.top.iter().filter(|(module, _)| wanted(module));
            let found = modules
                .filter_map(|(module, text)| Some(format!("{module}.{}", defined(text, names)?)));
            found.collect()
        };
        match place {
            Where::Module(only) => in_top(&|module| module == only),
            Where::Usual => in_top(&|module| MODULES.contains(&module) || single == Some(module)),
            Where::Top => in_top(&|_| true),
            Where::Packages(modules) => {
                let inner = self.inner.iter();
                let wanted = inner.filter(|((_, module), _)| modules.contains(&module.as_str()));
                let found = wanted.filter_map(|((package, module), text)| {
                    let name = defined(text, names)?;
                    Some(match module.as_str() {
                        "__init__" => format!("{package}.{name}"),
                        module => format!("{package}.{module}.{name}"),
                    })
                });
                found.collect()
            }
        }
    }
}

/// First of the names that a text defines.
fn defined(text: &str, names: &[Named]) -> Option<&'static str> {
    let there = definitions(text);
    names.iter().find_map(|named| {
        let (name, may_be_assigned) = match named {
            Named::Function(name) => (*name, false),
            Named::Any(name) => (*name, true),
        };
        let is_assigned = may_be_assigned && there.contains(&Definition::Assigned(name));
        (is_assigned || there.contains(&Definition::Function(name))).then_some(name)
    })
}

/// Names in a folder; none if the folder cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Text of a file, if it is plain and not too long. Links are not followed: they may lead anywhere.
fn read(path: &Path) -> Option<String> {
    let metadata = fs::symlink_metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Form `module.function` of a handler, which AWS also takes as `folder/module.function`; `None` if the
/// handler has neither form.
pub fn well_formed(handler: &str) -> Option<String> {
    let handler = handler.replace('/', ".");
    let identifier = |part: &str| {
        !part.is_empty()
            && !part.starts_with(|first: char| first.is_ascii_digit())
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    (handler.contains('.') && handler.split('.').all(identifier)).then_some(handler)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Code(tempfile::TempDir);

    impl Code {
        fn of(files: &[(&str, &str)]) -> Self {
            let code = Self(tempfile::tempdir().unwrap());
            for (name, text) in files {
                code.write(name, text);
            }
            code
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn find(&self) -> Result<String, EntryError> {
            find(self.0.path(), None, &BTreeMap::new())
        }

        fn finds(&self, expected: &str) {
            assert_eq!(self.find().as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_comes_first_in_the_order_is_taken() {
        let code = Code::of(&[("shop/asgi.py", "application = get_asgi_application()\n")]);
        code.finds("shop.asgi.application");
        code.write("shop/wsgi.py", "application = get_wsgi_application()\n");
        code.write("manage.py", "def main(): ...\n");
        code.finds("shop.wsgi.application");
        code.write("serve.py", "def app(environ, start_response): ...\n");
        code.finds("serve.app");
        code.write("app.py", "app: FastAPI = FastAPI()\n");
        code.finds("app.app");
        code.write("jobs.py", "async def handler(event): ...\n");
        code.finds("jobs.handler");
        code.write("main.py", "import os\ndef main (event):\n    pass\n");
        code.finds("main.main");
        code.write("lambda_function.py", "def lambda_handler(event, context): ...\n");
        code.finds("lambda_function.lambda_handler");
        code.write("f.py", "app = Flask(__name__)\n");
        code.finds("f.app");
        code.write("f.py", "app = Flask(__name__)\ndef f(event): ...\n");
        code.finds("f.f");
        code.write("mine.py", "    def handler(self): ...\ndef f(event): ...\n");
        code.finds("f.f");
    }

    #[test]
    fn a_single_file_has_any_name() {
        let code = Code::of(&[("mine.py", "'''\ndef handler(x):\n'''\ndef f(event): ...\n")]);
        assert_eq!(code.find(), Err(EntryError::Nothing));
        let found = find(code.0.path(), Some("mine"), &BTreeMap::new());
        assert_eq!(found.as_deref(), Ok("mine.f"));
    }

    #[test]
    fn where_several_could_be_meant_all_are_told() {
        let code = Code::of(&[
            ("one.py", "handler = Mangum(app)\n"),
            ("two.py", "def lambda_handler(event, context): ...\n"),
            ("web.py", "app = Flask(__name__)\n"),
        ]);
        let error = code.find().unwrap_err();
        let expected = ["one.handler", "two.lambda_handler", "web.app"].map(ToOwned::to_owned);
        assert_eq!(error, EntryError::Several(expected.to_vec()));
        assert!(error.to_string().contains("one.handler, two.lambda_handler, web.app"), "{error}");
    }

    #[test]
    fn openlambdas_variables_decide() {
        let code = Code::of(&[
            ("f.py", "def f(event): ...\n"),
            ("own/entry.py", "app = Flask(__name__)\n"),
            ("empty.py", ""),
        ]);
        let find = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            find(code.0.path(), None, &pairs.collect())
        };
        assert_eq!(find(&[(ENTRY_FILE, "own/entry.py")]).as_deref(), Ok("own.entry.app"));
        let named = find(&[(ENTRY_FILE, "own/entry.py"), ("OL_WSGI_ENTRY", "other")]);
        assert_eq!(named.as_deref(), Ok("own.entry.other"));
        for file in ["empty.py", "nowhere.py", "f", "../f.py"] {
            assert_eq!(find(&[(ENTRY_FILE, file)]), Err(EntryError::File(file.to_owned())));
        }
    }

    #[test]
    fn handlers_are_checked() {
        for (handler, form) in [
            ("app.handler", "app.handler"),
            ("package.app.handler", "package.app.handler"),
            ("package/app.handler", "package.app.handler"),
        ] {
            assert_eq!(well_formed(handler).as_deref(), Some(form));
        }
        for bad in ["handler", "", ".handler", "app.", "a b.c", "../x.y", "1app.x", "/a.b"] {
            assert_eq!(well_formed(bad), None, "{bad}");
        }
    }
}

//! Metadata of an environment's distributions, as a zygote's child sees it: all of it, although the
//! zygote saw fewer distributions.

use serde_json::json;

use super::{fresh_and_apart, instance};
use crate::harness::Index;
use crate::tests;

tests!(distributions_are_those_of_the_functions_environment);

/// Asks for metadata in each way at import, and remembers nothing.
const ASKING: &str = "
import importlib.metadata, importlib_metadata, importlib.resources, pkgutil
import pkg_resources

def ask(project='six', module='six'):
    told = {}
    for how in (importlib.metadata, importlib_metadata):
        names = sorted({one.metadata['Name'].lower() for one in how.distributions()})
        try:
            told[how.__name__] = [names, how.version(project)]
        except how.PackageNotFoundError:
            told[how.__name__] = [names, None]
        told[how.__name__ + ' points'] = sorted(
            one.name for one in how.entry_points(group='console_scripts')
        )
    found = pkg_resources.working_set
    told['pkg_resources'] = sorted(one.project_name.lower() for one in found)
    told['pkg_resources points'] = sorted(
        one.name for one in found.iter_entry_points('console_scripts')
    )
    told['pkgutil'] = sorted(
        one.name for one in pkgutil.iter_modules() if 'site-packages' in str(one.module_finder)
    )
    return told

ask()
";

const FUNCTION: &str = "
import asking

def handler(event):
    return asking.ask()
";

fn distributions_are_those_of_the_functions_environment() {
    let others =
        ["six", "charset-normalizer", "idna", "importlib-metadata<9", "setuptools<80", "zipp"];
    let index = Index::start(&others, &[], None);
    let program = super::WHEEL
        .replace("{NAME!}", &json!("asking").to_string())
        .replace("{CODE!}", &json!(ASKING).to_string())
        .replace(
            "Version: 1.0\\n",
            "Version: 1.0\\nRequires-Dist: importlib-metadata\\nRequires-Dist: setuptools\\n",
        );
    index.add("asking-1.0-py3-none-any.whl", &program);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "asked", "asking", "six", "charset-normalizer", "idna"]);
    instance.deploy("asks", FUNCTION, &["--env", "asked", "--timeout", "60"]);
    let (fresh, forked) = fresh_and_apart(&instance, "asks", &json!({}));
    assert_eq!(fresh["importlib.metadata"][1], fresh["importlib_metadata"][1]);
    assert!(fresh["importlib.metadata"][0].as_array().unwrap().contains(&json!("idna")), "{fresh}");
    assert_eq!(fresh, forked);
}

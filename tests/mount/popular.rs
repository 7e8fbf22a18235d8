//! Popular and awkward packages: a view is as uv installs it, and they can be imported.

use std::process::Command;

use super::peer::{run, same_as_uv};
use crate::harness::{Instance, Options};
use crate::ingest::index::Index;
use crate::tests;

tests!(
    a_few_awkward_packages_are_as_uv_installs_them,
    a_wheel_of_oddities_is_as_uv_installs_it;
    long thirty_popular_packages_are_as_uv_installs_them,
);

/// A package and the module to import.
type Package = (&'static str, &'static str);

/// Awkward packages; the comments name their oddities.
const AWKWARD: [Package; 10] = [
    // A `.pth`, and names that others patch.
    ("setuptools", "setuptools"),
    // Namespace packages: folders without `__init__`, shared by distributions.
    ("google-cloud-core", "google.cloud.client"),
    ("zope.interface", "zope.interface"),
    ("zope.event", "zope.event"),
    // Data files and headers outside of the packages' folder.
    ("ipykernel", "ipykernel"),
    ("greenlet", "greenlet"),
    // A program that is no script.
    ("ruff", "ruff"),
    // A library of more than 100 MB.
    ("polars", "polars"),
    // Empty files and thousands of small ones.
    ("tzdata", "tzdata"),
    ("jedi", "jedi"),
];

const POPULAR: [Package; 20] = [
    ("requests", "requests"),
    ("flask", "flask"),
    ("numpy", "numpy.linalg"),
    ("pandas", "pandas"),
    ("boto3", "boto3"),
    ("scikit-learn", "sklearn.ensemble"),
    ("scipy", "scipy.stats"),
    ("matplotlib", "matplotlib.pyplot"),
    ("pillow", "PIL.Image"),
    ("django", "django.db.models"),
    ("fastapi", "fastapi"),
    ("sqlalchemy", "sqlalchemy.orm"),
    ("aiohttp", "aiohttp"),
    ("cryptography", "cryptography.fernet"),
    ("grpcio", "grpc"),
    ("protobuf", "google.protobuf.message"),
    ("lxml", "lxml.etree"),
    ("pyyaml", "yaml"),
    ("pytest", "pytest"),
    ("pyarrow", "pyarrow.parquet"),
];

fn check(packages: &[Package]) {
    let instance = Instance::start(&Options::default());
    let mut arguments = vec!["env", "add", "popular"];
    arguments.extend(packages.iter().map(|(name, _)| *name));
    instance.ok(&arguments);
    let compared = same_as_uv(&instance, "popular", &[]);
    assert!(compared > 100 * packages.len(), "only {compared} files compared");
    let python = instance.mount().join("envs/popular/bin/python");
    for (_, module) in packages {
        let code = format!("import {module}; print({module}.__name__)");
        // What google-api-core says of a package that it could have besides is no fault of the mount's.
        let grpc = "ignore:Please install grpcio-status:ImportWarning";
        let warnings = ["-W", "error::ImportWarning", "-W", grpc];
        let said = run(Command::new(&python).args(warnings).args(["-c", &code]));
        assert_eq!(said.trim(), *module);
    }
}

fn a_few_awkward_packages_are_as_uv_installs_them() {
    check(&AWKWARD);
}

fn thirty_popular_packages_are_as_uv_installs_them() {
    check(&[AWKWARD.as_slice(), POPULAR.as_slice()].concat());
}

/// A wheel with names that are not ASCII or hold a comma, empty files, every kind of data, a `.pth`, scripts.
fn a_wheel_of_oddities_is_as_uv_installs_it() {
    let index = Index::of(&["sound"]);
    let instance = Instance::start(&Options { variables: index.variables(), ..Options::default() });
    instance.ok(&["env", "add", "odd", "sound"]);
    assert!(same_as_uv(&instance, "odd", &index.variables()) > 10);
    let bin = instance.mount().join("envs/odd/bin");
    let code = "import sound, sound_pure, by_path, importlib; \
                print(importlib.import_module('sound.größe').größe + by_path.x)";
    assert_eq!(run(Command::new(bin.join("python")).args(["-c", code])), "9\n");
    assert_eq!(run(&mut Command::new(bin.join("sound"))), "sound\n");
    assert_eq!(run(&mut Command::new(bin.join("sound-script"))), "script\n");
}

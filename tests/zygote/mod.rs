//! Processes forked from a zygote, and the imports that a zygote may hold.

pub mod ahead;
pub mod children;
pub mod contents;
pub mod files;
pub mod forked;
pub mod hooks;
pub mod libraries;
pub mod loading;
pub mod metadata;
pub mod order;
pub mod reads;
pub mod replacing;
pub mod safety;
pub mod same;
pub mod standbys;
pub mod suites;
pub mod tree;
pub mod unique;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Index, Instance, Options};

/// Writes a wheel of one module, or of one `.pth` file if the name ends with that.
const WHEEL: &str = r"
import sys, zipfile
name, code = {NAME!}, {CODE!}
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    project = name.removesuffix('.pth')
    info = f'{project}-1.0.dist-info/'
    if name == project:
        wheel.writestr(f'{name}.py', code)
    else:
        wheel.writestr(name, code)
        wheel.writestr(f'{project}.py', '')
    wheel.writestr(info + 'METADATA', f'Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    record = ''.join(f'{name},,\n' for name in wheel.namelist())
    wheel.writestr(info + 'RECORD', record + info + 'RECORD,,\n')
";

/// Starts an index of packages of one module each, given by name and code, and of others from PyPI.
fn index(others: &[&str], packages: &[(&str, &str)]) -> Index {
    let index = Index::start(others, &[], None);
    for (name, code) in packages {
        let program = WHEEL
            .replace("{NAME!}", &json!(name).to_string())
            .replace("{CODE!}", &json!(code).to_string());
        let project = name.trim_end_matches(".pth");
        index.add(&format!("{project}-1.0-py3-none-any.whl"), &program);
    }
    index
}

/// Starts an instance that finds packages in an index, with tiers and a configuration file.
fn instance(index: &Index, tiers: Option<&'static str>, config: Option<&str>) -> Instance {
    let mut variables = vec![("UV_DEFAULT_INDEX", index.url(""))];
    variables.extend(config.map(|path| ("PIPSQUEAK_CONFIG", path.to_owned())));
    Instance::start(&Options { tiers, variables, ..Options::default() })
}

/// Invokes a function, which must succeed, from a new interpreter and then from a zygote's first
/// fork; returns both results.
fn fresh_and_forked(instance: &Instance, function: &str, payload: &Value) -> (Value, Value) {
    let invoke = |tier: &str| {
        let answer = instance.invoke(function, payload);
        assert_eq!(
            (&answer["outcome"], &answer["tier"]),
            (&json!("done"), &json!(tier)),
            "{answer}"
        );
        answer["result"].clone()
    };
    let fresh = invoke("ssd");
    instance.await_zygotes();
    instance.ok(&["evict", "--paused"]);
    (fresh, invoke("zygote"))
}

/// Invokes a function in both ways although its imports read what other functions' do not, so that
/// its zygotes are planned by the reads of earlier ones.
fn fresh_and_apart(instance: &Instance, function: &str, payload: &Value) -> (Value, Value) {
    let fresh = instance.invoke(function, payload);
    assert_eq!(fresh["outcome"], "done", "{fresh}");
    for _ in 0..4 {
        instance.await_zygotes();
        instance.ok(&["evict", "--paused"]);
        let answer = instance.invoke(function, payload);
        assert_eq!(answer["outcome"], "done", "{answer}");
        if answer["tier"] == "zygote" {
            return (fresh["result"].clone(), answer["result"].clone());
        }
    }
    panic!("{function}: {}", instance.json(&["explain", function, "--json"]));
}

/// The only zygote besides the interpreter that it was forked from.
fn zygote(instance: &Instance) -> Value {
    let status = instance.status();
    let mut zygotes = status["zygotes"].as_array().unwrap().clone();
    zygotes.retain(|zygote| !zygote["parent"].is_null());
    assert_eq!(zygotes.len(), 1, "{status}");
    zygotes.remove(0)
}

/// A JSON object's members.
fn members(value: &Value) -> BTreeMap<String, Value> {
    value.as_object().unwrap().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

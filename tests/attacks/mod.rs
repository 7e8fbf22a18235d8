//! Attacks by function code and package code. Each must fail, and the supervisor must serve others
//! meanwhile and afterwards.

pub mod channel;
pub mod cores;
pub mod exhaustion;
pub mod inodes;
pub mod neighbours;
pub mod reach;
pub mod zygotes;

use serde_json::{Value, json};

use crate::harness::{Index, Instance, Options};

/// An instance with a function that has nothing to do with the attack.
pub struct Attacked {
    pub instance: Instance,
    supervisor: Value,
}

impl Attacked {
    pub fn start() -> Self {
        Self::with(&Options::default())
    }

    /// Starts an instance whose packages come from an index.
    pub fn from(index: &Index) -> Self {
        Self::with(&Options {
            variables: vec![("UV_DEFAULT_INDEX", index.url(""))],
            ..Options::default()
        })
    }

    fn with(options: &Options) -> Self {
        let instance = Instance::start(options);
        instance.deploy("bystander", "def handler(event): return event + 1\n", &[]);
        let supervisor = instance.status()["pid"].clone();
        Self { instance, supervisor }
    }

    /// Checks that the same supervisor still serves others, from an existing sandbox and from a new one.
    pub fn serves_others(&self) {
        assert_eq!(self.instance.invoke("bystander", &json!(1))["result"], 2);
        self.instance.ok(&["evict", "--paused", "bystander"]);
        assert_eq!(self.instance.invoke("bystander", &json!(2))["result"], 3);
        assert_eq!(self.instance.status()["pid"], self.supervisor);
    }

    /// Invokes a function that must be forked from a zygote; returns its answer.
    pub fn forked(&self, function: &str, event: &Value) -> Value {
        self.instance.await_zygotes();
        self.instance.ok(&["evict", "--paused"]);
        let answer = self.instance.invoke(function, event);
        assert_eq!(
            (&answer["outcome"], &answer["tier"]),
            (&json!("done"), &json!("zygote")),
            "{answer}"
        );
        answer
    }
}

/// Program that writes a source distribution of a `setup.py` to the path in `sys.argv[1]`.
pub fn source(name: &str, setup: &str) -> String {
    format!(
        r"
import io, sys, tarfile
setup = {setup}.encode()
with tarfile.open(sys.argv[1], 'w:gz') as archive:
    member = tarfile.TarInfo('{name}-1.0/setup.py')
    member.size = len(setup)
    archive.addfile(member, io.BytesIO(setup))
",
        setup = json!(setup),
    )
}

/// Program that writes a wheel of one module to the path in `sys.argv[1]`.
pub fn wheel(name: &str, code: &str) -> String {
    format!(
        r"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    info = '{name}-1.0.dist-info/'
    wheel.writestr('{name}.py', {code})
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    record = ''.join(f'{{name}},,\n' for name in wheel.namelist())
    wheel.writestr(info + 'RECORD', record + info + 'RECORD,,\n')
",
        // A string of JSON is one of Python.
        code = json!(code),
    )
}

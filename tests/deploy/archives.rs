//! Zips and wheels, hostile ones included.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::{deploy, deployed, refused};
use crate::harness::{Instance, shared};
use crate::tests;

tests!(
    a_zip_brings_packages_beside_its_code,
    a_zip_names_packages,
    a_wheel_is_the_code_and_names_its_packages,
    hostile_zips_are_refused,
);

/// Makes an archive with the Python code `making`, whose variable `path` is the archive's path.
fn made(instance: &Instance, name: &str, making: &str) -> PathBuf {
    let path = instance.scratch().join(name);
    let program = format!(
        "import stat, sys, zipfile\nfrom zipfile import ZipFile, ZipInfo\npath = sys.argv[1]\n{making}"
    );
    let output = Command::new("python3").args(["-c", &program]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    path
}

fn a_zip_brings_packages_beside_its_code() {
    let instance = shared();
    let making = "
with ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as zip:
    zip.writestr('lambda_function.py', '''
import os, package, subprocess
def lambda_handler(event, context):
    run = subprocess.run(['./tool.sh'], capture_output=True, text=True)
    return [package.name, event, run.stdout, os.path.exists('package/__pycache__')]
''')
    zip.writestr('package/__init__.py', 'from .inner.deep import name')
    zip.writestr('package/inner/deep.py', 'name = __name__')
    zip.writestr('package/__pycache__/__init__.cpython-311.pyc', 'of another place')
    tool = ZipInfo('tool.sh')
    tool.external_attr = 0o755 << 16
    zip.writestr(tool, '#!/bin/sh\\necho tool\\n')
    zip.writestr('empty/', '')
";
    let path = made(&instance, "aws.zip", making);
    let said = deployed(&instance, "zipped", &path, &[]);
    assert!(said.contains("handler lambda_function.lambda_handler"), "{said}");
    let answer = instance.invoke("zipped", &json!(1));
    let expected = json!(["package.inner.deep", 1, "tool\n", false]);
    assert_eq!(answer["result"], expected, "{answer}");
}

fn a_zip_names_packages() {
    let instance = shared();
    let making = "
with ZipFile(path, 'w') as zip:
    zip.writestr('f.py', 'import os, six\\ndef f(event): return [six.__version__, os.environ[\"A\"]]')
    zip.writestr('requirements.txt', 'six==1.16.0')
    zip.writestr('ol.yaml', 'environment: {A: b}')
";
    deployed(&instance, "naming", &made(&instance, "names.zip", making), &[]);
    assert_eq!(instance.invoke("naming", &json!({}))["result"], json!(["1.16.0", "b"]));
    let nested = making.replace("six==1.16.0", "-r others.txt");
    let output = deploy(&instance, "naming", &made(&instance, "nested.zip", &nested), &[]);
    refused(&output, "requirements.txt:1: -r others.txt: it is in an archive");
}

fn a_wheel_is_the_code_and_names_its_packages() {
    let instance = shared();
    let making = "
with ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as wheel:
    wheel.writestr('shop/__init__.py', '')
    wheel.writestr('shop/main.py', '''
import importlib.metadata, importlib.util, extra_module
def handler(event):
    import six
    idna = importlib.util.find_spec(\"idna\") is not None
    return [importlib.metadata.version(\"the-shop\"), six.__version__, extra_module.name, idna]
''')
    wheel.writestr('the_shop-2.0.data/purelib/extra_module.py', 'name = __name__')
    wheel.writestr('the_shop-2.0.data/scripts/run', 'no')
    wheel.writestr('the_shop-2.0.dist-info/METADATA', '''Metadata-Version: 2.1
Name: the-shop
Version: 2.0
Requires-Python: >=3.9
Requires-Dist: six ==1.16.0
Requires-Dist: idna ; extra == 'names'
Requires-Dist: the-shop[names] ; extra == 'all'
Provides-Extra: names
Provides-Extra: all

A shop.
''')
    wheel.writestr('the_shop-2.0.dist-info/WHEEL', 'Wheel-Version: 1.0')
    wheel.writestr('the_shop-2.0.dist-info/RECORD', '')
";
    let path = made(&instance, "the_shop-2.0-py3-none-any.whl", making);
    let said = deployed(&instance, "wheeled", &path, &[]);
    assert!(said.contains("handler shop.main.handler"), "{said}");
    let told = |idna: bool| json!(["2.0", "1.16.0", "extra_module", idna]);
    let answer = instance.invoke("wheeled", &json!({}));
    assert_eq!(answer["result"], told(false), "{answer}");
    for extras in ["names", "all"] {
        let path = format!("{}[{extras}]", path.display());
        deployed(&instance, "wheeled", Path::new(&path), &[]);
        assert_eq!(instance.invoke("wheeled", &json!({}))["result"], told(true));
    }
    let unknown = format!("{}[none]", path.display());
    refused(&deploy(&instance, "wheeled", Path::new(&unknown), &[]), "no extra none");
    let newer = making.replace(">=3.9", ">=3.99");
    let newer = made(&instance, "the_shop-2.1-py3-none-any.whl", &newer);
    refused(&deploy(&instance, "wheeled", &newer, &[]), "Python >=3.99 is required");
    let none = "ZipFile(path, 'w').writestr('a.py', 'x')";
    refused(&deploy(&instance, "wheeled", &made(&instance, "none.whl", none), &[]), "METADATA");
}

/// Code that makes each archive, and the expected message. All have a handler, so that nothing else is wrong.
const HOSTILE: [(&str, &str); 12] = [
    ("zip.writestr('/tmp/absolute.py', '')", "could lead elsewhere"),
    ("zip.writestr('../outside.py', '')", "could lead elsewhere"),
    ("zip.writestr('a/../../outside.py', '')", "could lead elsewhere"),
    ("zip.writestr('a/./b.py', '')", "could lead elsewhere"),
    ("zip.writestr('a\\\\..\\\\..\\\\b.py', '')", "could lead elsewhere"),
    ("link('link', '/etc')", "neither a file nor a folder"),
    ("link('link', 'handler.py')", "neither a file nor a folder"),
    ("zip.writestr('handler.py', 'other')", "twice"),
    ("zip.writestr('a', ''); zip.writestr('a/b.py', '')", "twice"),
    ("[zip.writestr(f'{n}.txt', '') for n in range(70000)]", "70001 entries"),
    ("[zip.writestr(f'{n}', b'0' * (64 << 20)) for n in range(9)]", "larger than 512 MiB"),
    ("zip.writestr('x' * 3000, '')", "could lead elsewhere"),
];

fn hostile_zips_are_refused() {
    let instance = shared();
    let outside = instance.state().join("functions/outside.py");
    for (number, (making, says)) in HOSTILE.into_iter().enumerate() {
        let making = format!(
            "
import warnings
warnings.simplefilter('ignore')
def link(name, to):
    info = ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    zip.writestr(info, to)
with ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as zip:
    zip.writestr('handler.py', 'def handler(event): return 1')
    {making}
"
        );
        let path = made(&instance, &format!("hostile-{number}.zip"), &making);
        let output = deploy(&instance, "hostile", &path, &[]);
        refused(&output, says);
        assert_eq!(instance.call(&["functions", "show", "hostile"]).code, 4, "{number}");
        assert!(!instance.state().join("functions/hostile").exists(), "{number}");
        assert!(!outside.exists() && !Path::new("/tmp/absolute.py").exists(), "{number}");
    }
    // Damaged, cut off, or no zip at all; and one whose header lies about how much it unpacks to.
    let good = "
with ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as zip:
    zip.writestr('handler.py', 'def handler(event): return 1' + ' ' * 5000)
";
    let damages = [
        "data[40] ^= 0xff",
        "del data[len(data) // 2:]",
        "data[:] = b'def handler(event): return 1'",
        "at = data.rindex(b'PK\\x01\\x02'); data[at + 24:at + 28] = (10).to_bytes(4, 'little')",
        "at = data.rindex(b'PK\\x01\\x02'); data[at + 8] |= 1; data[6] |= 1",
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let making = format!(
            "{good}
import pathlib
data = bytearray(pathlib.Path(path).read_bytes())
{damage}
pathlib.Path(path).write_bytes(data)
"
        );
        let path = made(&instance, &format!("damaged-{number}.zip"), &making);
        refused(&deploy(&instance, "hostile", &path, &[]), "damaged");
        assert_eq!(instance.call(&["functions", "show", "hostile"]).code, 4, "{number}");
    }
}

//! Trees as files: our own form, which is written and read, and OpenLambda's, which is only read.
//!
//! Our form is an object with the trees of all realms; a node lists what it adds to its parent:
//!
//! ```json
//! {"zygotes": [{"distributions": [], "modules": [], "children": [
//!     {"distributions": ["numpy==2.1.0"], "modules": ["numpy", "numpy.fft"],
//!      "us": 81000, "bytes": 21000000, "children": []}]}]}
//! ```
//!
//! OpenLambda's form is one node, `{"packages": ["numpy"], "children": []}`, whose packages are
//! imported by their top-level names. Other fields of its nodes are ignored.

use serde::Serialize;
use serde_json::Value;

use super::choose::ZygoteId;
use super::costs::Costs;
use super::names::{DistributionId, Distributions, ModuleId, Modules, Names, Realm};
use super::plan::{Parent, Start};
use super::situation::Standing;

/// Deepest nesting that is read: deeper than any that can be planned.
const DEPTH: usize = 32;

/// An error in a file of trees.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GivenError {
    /// The file is not JSON.
    #[error("the trees are not JSON: {0}")]
    Json(String),
    /// A part has the wrong type.
    #[error("{place} must be {expected}")]
    Form {
        /// The part's place, such as `zygotes[0].children[2].modules`.
        place: String,
        /// The expected type.
        expected: &'static str,
    },
    /// The node at this place is nested too deep.
    #[error("{0} is nested deeper than {DEPTH} zygotes")]
    Deep(String),
    /// A node names a package that no environment has.
    #[error("{place} names {package}, which no environment has: add one that does")]
    Unknown {
        /// The node's place.
        place: String,
        /// The package, as the file writes it.
        package: String,
    },
}

/// A distribution as a tree names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Normalised name.
    pub name: String,
    /// Version, if one is named.
    pub version: Option<String>,
}

/// A zygote of a tree, and the zygotes forked from it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tree {
    /// Distributions that the zygote adds to its parent's, as `name==version`.
    pub distributions: Vec<String>,
    /// Modules that the zygote imports besides its parent's; `None` for the top-level ones of its
    /// distributions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules: Option<Vec<String>>,
    /// Time of the zygote's imports, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub us: Option<u64>,
    /// The zygote's private memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Zygotes that are forked from this one.
    pub children: Vec<Tree>,
}

/// Reads a file of trees in either form.
pub fn parse(text: &str) -> Result<Vec<Tree>, GivenError> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| GivenError::Json(error.to_string()))?;
    if value.get("packages").is_some() {
        return Ok(vec![node(&value, "the root", "packages", 0)?]);
    }
    let roots = value.get("zygotes").and_then(Value::as_array);
    let roots = roots.ok_or_else(|| {
        form("the file", "an object with a list \"zygotes\", or with \"packages\" and \"children\"")
    })?;
    let named = |(place, root)| node(root, &format!("zygotes[{place}]"), "distributions", 0);
    roots.iter().enumerate().map(named).collect()
}

/// Writes trees in our own form.
pub fn write(trees: &[Tree]) -> String {
    serde_json::json!({ "zygotes": trees }).to_string()
}

fn node(value: &Value, place: &str, packages: &str, depth: usize) -> Result<Tree, GivenError> {
    if depth >= DEPTH {
        return Err(GivenError::Deep(place.to_owned()));
    }
    if !value.is_object() {
        return Err(form(place, "an object"));
    }
    let inner = |key: &str| {
        // OpenLambda's root is the whole file, so it has no name in a message.
        if depth == 0 && packages == "packages" { key.to_owned() } else { format!("{place}.{key}") }
    };
    let list = |key: &str| match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(_) => Err(form(&inner(key), "a list")),
    };
    let texts = |key: &str| -> Result<Option<Vec<String>>, GivenError> {
        let Some(list) = list(key)? else { return Ok(None) };
        let text = |(at, one): (usize, &Value)| match one.as_str() {
            Some(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            _ => Err(form(&format!("{}[{at}]", inner(key)), "a name")),
        };
        list.iter().enumerate().map(text).collect::<Result<_, _>>().map(Some)
    };
    let number = |key: &str| match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(number) => {
            number.as_u64().map(Some).ok_or_else(|| form(&inner(key), "a whole number"))
        }
    };
    let distributions =
        texts(packages)?.ok_or_else(|| form(&inner(packages), "a list of packages"))?;
    let children = list("children")?.into_iter().flatten().enumerate();
    let child = |(at, one)| node(one, &format!("{}[{at}]", inner("children")), packages, depth + 1);
    Ok(Tree {
        distributions,
        modules: texts("modules")?,
        us: number("us")?,
        bytes: number("bytes")?,
        children: children.map(child).collect::<Result<_, _>>()?,
    })
}

fn form(place: &str, expected: &'static str) -> GivenError {
    GivenError::Form { place: place.to_owned(), expected }
}

impl Package {
    /// Parses `name==version` or `name`, and normalises the name as indexes do.
    pub fn named(text: &str) -> Self {
        let (name, version) = match text.split_once("==") {
            Some((name, version)) => (name, Some(version.trim().to_owned())),
            None => (text, None),
        };
        let mut normal = String::new();
        for c in name.trim().chars() {
            match c {
                '-' | '_' | '.' if normal.ends_with('-') => {}
                '-' | '_' | '.' => normal.push('-'),
                c => normal.push(c.to_ascii_lowercase()),
            }
        }
        Self { name: normal, version }
    }
}

/// A distribution that an environment has.
#[derive(Debug, Clone)]
pub struct Found {
    /// The distribution.
    pub distribution: DistributionId,
    /// Distributions that it requires, transitively.
    pub requires: Vec<DistributionId>,
    /// Top-level names that can be imported.
    pub modules: Vec<String>,
}

/// The starts that make a tree of a realm. `find` looks a package up here. A module belongs to the
/// nearest distribution, of its node or of those above, that has its top-level name.
pub fn starts(
    tree: &Tree,
    realm: Realm,
    names: &mut Names,
    costs: &Costs,
    find: impl Fn(&Package) -> Option<Found>,
) -> Result<Vec<Start>, GivenError> {
    let mut made = Vec::new();
    let above = Above {
        parent: Parent::Nobody,
        place: "the root".to_owned(),
        found: Vec::new(),
        distributions: Distributions::new(),
        modules: Modules::new(),
    };
    plant(tree, above, realm, &mut (names, costs, &find), &mut made)?;
    Ok(made)
}

/// The state that a node inherits.
#[derive(Clone)]
struct Above {
    parent: Parent,
    place: String,
    found: Vec<Found>,
    distributions: Distributions,
    modules: Modules,
}

fn plant(
    tree: &Tree,
    mut above: Above,
    realm: Realm,
    with: &mut (&mut Names, &Costs, &impl Fn(&Package) -> Option<Found>),
    made: &mut Vec<Start>,
) -> Result<(), GivenError> {
    let mut tops = Vec::new();
    for package in &tree.distributions {
        let found = with.2(&Package::named(package)).ok_or_else(|| GivenError::Unknown {
            place: above.place.clone(),
            package: package.clone(),
        })?;
        above.distributions.insert(found.distribution);
        above.distributions.extend(found.requires.iter().copied());
        tops.extend(found.modules.iter().cloned());
        above.found.push(found);
    }
    let wanted = tree.modules.as_ref().unwrap_or(&tops);
    let named: Modules = wanted.iter().map(|name| module(name, &above.found, with.0)).collect();
    let imports = named.difference(&above.modules);
    above.modules.extend_from(&imports);
    let cost = with.1.sum(&imports);
    let place = above.place.clone();
    #[expect(clippy::cast_precision_loss, reason = "a time and a size, far below 2^52")]
    made.push(Start {
        realm,
        parent: above.parent,
        distributions: above.distributions.clone(),
        modules: above.modules.clone(),
        us: tree.us.map_or(cost.us, |us| us as f64),
        bytes: tree.bytes.map_or(cost.bytes, |bytes| bytes as f64),
        imports,
        saves: 0.0,
    });
    above.parent = Parent::Planned(made.len() - 1);
    for (at, child) in tree.children.iter().enumerate() {
        let mut above = above.clone();
        above.place = format!("{place}, children[{at}]");
        plant(child, above, realm, with, made)?;
    }
    Ok(())
}

fn module(name: &str, found: &[Found], names: &mut Names) -> ModuleId {
    let top = name.split('.').next().unwrap_or_default();
    let owner = found.iter().rev().find(|one| one.modules.iter().any(|module| module == top));
    names.module(owner.map(|one| one.distribution), name)
}

/// The standing zygotes as trees; `describe` gives a distribution as `name==version`.
pub fn export(
    standing: &[Standing],
    names: &Names,
    costs: &Costs,
    describe: impl Fn(DistributionId) -> String,
) -> Vec<Tree> {
    let stands = |id: ZygoteId| standing.iter().any(|one| one.id == id);
    let roots = standing.iter().filter(|one| !one.parent.is_some_and(stands));
    roots.map(|root| tree(root, None, standing, names, costs, &describe)).collect()
}

fn tree(
    one: &Standing,
    above: Option<&Standing>,
    standing: &[Standing],
    names: &Names,
    costs: &Costs,
    describe: &impl Fn(DistributionId) -> String,
) -> Tree {
    let inherited = above.map(|above| above.distributions.clone()).unwrap_or_default();
    let mut distributions: Vec<String> =
        one.distributions.difference(&inherited).iter().map(describe).collect();
    distributions.sort();
    let imports =
        above.map_or_else(|| one.modules.clone(), |above| one.modules.difference(&above.modules));
    let mut modules: Vec<String> =
        imports.iter().map(|module| names.module_named(module).name.clone()).collect();
    modules.sort();
    let children = standing.iter().filter(|child| child.parent == Some(one.id));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded")]
    Tree {
        distributions,
        modules: Some(modules),
        us: Some(costs.sum(&imports).us.max(0.0).round() as u64),
        bytes: Some(one.bytes.max(0.0).round() as u64),
        children: children
            .map(|child| tree(child, Some(one), standing, names, costs, describe))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::costs::Cost;
    use super::*;

    /// A `find` that knows four distributions: each has the module of its name, and requires `base`.
    fn find(names: &mut Names) -> impl Fn(&Package) -> Option<Found> + use<> {
        let known = ["base", "numpy", "pandas", "python-dateutil"];
        let numbers: Vec<_> = known.map(|name| names.distribution(name)).to_vec();
        move |package| {
            let at = known.iter().position(|name| *name == package.name)?;
            let modules = vec![package.name.replace("python-", "")];
            (package.version.as_deref().is_none_or(|version| version == "1.0")).then(|| Found {
                distribution: numbers[at],
                requires: vec![numbers[0]],
                modules,
            })
        }
    }

    fn planted(text: &str) -> Result<(Vec<Start>, Names), GivenError> {
        let mut names = Names::default();
        let (realm, find) = (names.realm("here"), find(&mut names));
        let mut made = Vec::new();
        for tree in parse(text)? {
            made.extend(starts(&tree, realm, &mut names, &Costs::default(), &find)?);
        }
        Ok((made, names))
    }

    #[test]
    fn a_tree_of_openlambda_becomes_starts_of_top_level_modules() {
        let text = r#"{"packages": [], "split_generation": 0, "children": [
            {"packages": ["numpy"], "children": [{"packages": ["Python_Dateutil==1.0"], "children": []}]},
            {"packages": ["pandas"], "children": null}]}"#;
        let (made, mut names) = planted(text).unwrap();
        let parents: Vec<Parent> = made.iter().map(|start| start.parent).collect();
        assert_eq!(
            parents,
            [Parent::Nobody, Parent::Planned(0), Parent::Planned(1), Parent::Planned(0)]
        );
        let [base, numpy, dateutil] =
            ["base", "numpy", "python-dateutil"].map(|digest| names.distribution(digest));
        assert_eq!(made[2].distributions, [base, numpy, dateutil].into_iter().collect());
        let [numpy, dateutil] = [(numpy, "numpy"), (dateutil, "dateutil")]
            .map(|(owner, name)| names.module(Some(owner), name));
        assert_eq!(made[2].modules, [numpy, dateutil].into_iter().collect());
        assert_eq!(made[2].imports, [dateutil].into_iter().collect());
        assert!(made[0].modules.is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place() {
        let cases = [
            ("", "the trees are not JSON: EOF while parsing a value at line 1 column 0"),
            (
                "{}",
                "the file must be an object with a list \"zygotes\", or with \"packages\" and \"children\"",
            ),
            (r#"{"packages": "numpy"}"#, "packages must be a list"),
            (
                r#"{"packages": [], "children": [{"packages": []}, {"packages": ["a", 3]}]}"#,
                "children[1].packages[1] must be a name",
            ),
            (r#"{"packages": [], "children": [7]}"#, "children[0] must be an object"),
            (
                r#"{"packages": [], "children": [{}]}"#,
                "children[0].packages must be a list of packages",
            ),
            (
                r#"{"zygotes": [{"distributions": [], "children": [{"distributions": [], "us": -1}]}]}"#,
                "zygotes[0].children[0].us must be a whole number",
            ),
            (
                r#"{"packages": [], "children": [{"packages": ["numpy==2"]}]}"#,
                "the root, children[0] names numpy==2, which no environment has: add one that does",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(planted(text).unwrap_err().to_string(), expected);
        }
        let deep = format!("{}{}", r#"{"packages": [], "children": ["#.repeat(40), "]}".repeat(40));
        assert!(matches!(planted(&deep), Err(GivenError::Deep(_))));
    }

    /// Trees of three known distributions, nested at random.
    fn trees() -> impl Strategy<Value = Tree> {
        let node =
            (prop::sample::subsequence(vec!["numpy", "pandas", "python-dateutil"], 0..3), 0u64..9);
        let node = node.prop_map(|(distributions, bytes)| Tree {
            distributions: distributions.into_iter().map(ToOwned::to_owned).collect(),
            bytes: Some(bytes),
            ..Tree::default()
        });
        node.clone().prop_recursive(4, 12, 3, move |inner| {
            (node.clone(), prop::collection::vec(inner, 0..3))
                .prop_map(|(tree, children)| Tree { children, ..tree })
        })
    }

    proptest! {
        #[test]
        fn what_is_exported_makes_the_same_again(tree in trees()) {
            let mut names = Names::default();
            let (realm, find) = (names.realm("here"), find(&mut names));
            let mut costs = Costs::default();
            let numpy = names.distribution("numpy");
            let module = names.module(Some(numpy), "numpy");
            costs.observe(module, Cost { us: 70_000.0, bytes: 1e7 });
            let made = starts(&tree, realm, &mut names, &costs, &find).unwrap();
            let standing: Vec<Standing> = made.iter().enumerate().map(|(at, start)| Standing {
                id: ZygoteId(at as u64),
                parent: match start.parent {
                    Parent::Planned(above) => Some(ZygoteId(above as u64)),
                    _ => None,
                },
                realm,
                distributions: start.distributions.clone(),
                modules: start.modules.clone(),
                bytes: start.bytes,
                is_given: true,
            }).collect();
            let describe = |one| format!("{}==1.0", names.digest(one));
            let exported = export(&standing, &names, &costs, describe);
            let read = parse(&write(&exported)).unwrap();
            prop_assert_eq!(&read, &exported);
            let again = starts(&read[0], realm, &mut names, &costs, &find).unwrap();
            prop_assert_eq!(again, made);
        }

        #[test]
        fn anything_is_read_or_refused(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}

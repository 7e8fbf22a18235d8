//! Needs of functions: guessed from their code, then learned from their starts.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use pipsqueak_fs::Imports;
use pipsqueak_policy::scan;
use pipsqueak_policy::zygotes::{self, Imported, Modules};

use super::kind::Apart;
use super::pool::{Inner, Known, Pool};
use crate::deployment::Function;
use crate::environment::Tree;

impl Pool {
    /// Counts an announced start, and learns the function's imports from it. `imported` are the modules
    /// that it had to import itself, if it reported them. `had` is the zygote that it came from, whose
    /// modules count too.
    pub async fn learn(
        self: &Arc<Self>,
        function: &Function,
        tree: &Arc<Tree>,
        imported: Option<Vec<String>>,
        had: Option<u64>,
    ) {
        if let Err(error) = self.environments.imports(tree).await {
            tracing::warn!(%error, "reading what can be imported from an environment");
        }
        let now = self.now();
        {
            let inner = &mut *self.lock();
            // A function with such variables gets no zygote, so none is planned.
            if function.variables.of_own_files().is_none() {
                inner.introduce(function, tree, now);
                inner.policy.started(&function.info.name, now);
                if let Some(imported) = imported {
                    inner.learn(&function.info.name, tree, &imported, had);
                }
            }
        }
        self.stand_by(function, tree);
        self.news.learn();
    }

    /// Forgets a function.
    pub fn forget(&self, function: &str) {
        let inner = &mut *self.lock();
        inner.known.remove(function);
        inner.policy.remove(function);
    }
}

impl Inner {
    fn learn(&mut self, function: &str, tree: &Tree, imported: &[String], had: Option<u64>) {
        let zygote = had.and_then(|id| self.slots.get(&id));
        let had = zygote.map(|slot| slot.seen.modules.clone()).unwrap_or_default();
        let mut modules = self.modules(tree, imported.iter().map(String::as_str));
        if let Some(known) = self.policy.function(function) {
            modules.extend_from(&known.modules.intersection(&had));
        }
        let learned: Vec<_> =
            modules.iter().map(|module| Imported { module, cost: None }).collect();
        if self.policy.learn(function, &learned) {
            let unlike = self.policy.unsafe_modules();
            self.slots.retain(|_, slot| slot.seen.modules.intersection(&unlike).is_empty());
        }
    }

    /// Informs the policy of a function, or of its new code or environment. `now` is in seconds.
    pub fn introduce(&mut self, function: &Function, tree: &Arc<Tree>, now: f64) {
        let (name, version) = (&function.info.name, function.info.version);
        let own_network = function.own_network();
        let knew_imports = tree.known_imports().is_some();
        if self.known.get(name).is_some_and(|known| {
            known.version == version
                && known.tree.key == tree.key
                && known.own_network == own_network
                && (known.knew_imports || !knew_imports)
        }) {
            return;
        }
        let recalled = self.take_recalled(name, version, &tree.key);
        let guess = match &recalled {
            Some((modules, _)) => modules.clone(),
            None => self.guess(function, tree),
        };
        let apart = match self.known.get(name) {
            Some(known) if known.version == version && known.tree.key == tree.key => {
                known.apart.clone()
            }
            // A new function probably imports, and so reads, the same as others of its environment.
            _ => {
                let others = self.known.values().filter(|other| other.tree.key == tree.key);
                Apart::expected(others.map(|other| &other.apart))
            }
        };
        let realm = self.realm(tree, apart.kind(function, tree));
        let environment = self.environment(tree);
        self.policy.deploy(name, realm, environment, &guess);
        if let Some((modules, rate)) = recalled {
            self.policy.recall(name, &modules, rate, now);
        }
        let known = Known { version, tree: tree.clone(), own_network, apart, knew_imports };
        self.known.insert(name.clone(), known);
    }

    /// The numbers of those `named` modules that the environment has.
    fn modules<'a>(&mut self, tree: &Tree, named: impl IntoIterator<Item = &'a str>) -> Modules {
        let imports = tree.known_imports();
        let mut modules = Modules::new();
        for name in named {
            // A private environment is one distribution, shared by all functions that may use it.
            let owner = match (tree.view_digest(), imports) {
                (None, _) => tree.distributions.keys().next().map(String::as_str),
                (Some(_), Some(imports)) => imports.owner(name),
                // The distribution of a top-level name is known early.
                (Some(_), None) => tree.owner_of_top(name),
            };
            if let Some(owner) = owner {
                let distribution = self.policy.names.distribution(owner);
                modules.insert(self.policy.names.module(Some(distribution), name));
            }
        }
        modules
    }

    /// Modules that a function's code is seen to import, with all that they need; none if the code shows
    /// none.
    fn guess(&mut self, function: &Function, tree: &Tree) -> Modules {
        let module = function.info.handler.rsplit_once('.').map_or("", |(module, _)| module);
        let code = &function.code;
        let guess = scan::scan(module, |path| read_source(code, path));
        let Some(imports) = tree.known_imports() else {
            // Modules of a private environment are known by their top-level names alone.
            let wanted = |name: &&String| tree.owner_of_top(name).is_some();
            let named: Vec<_> = guess.modules.iter().filter(wanted).map(String::as_str).collect();
            return self.modules(tree, named);
        };
        let is_module = |name: &&String| imports.owner(name).is_some();
        let named = guess.modules.iter().chain(&guess.perhaps).filter(is_module);
        let closure = imports.closure(named.map(String::as_str));
        self.modules(tree, closure.iter().map(String::as_str))
    }

    /// An environment in the policy's form.
    pub fn environment(&mut self, tree: &Tree) -> Arc<zygotes::Environment> {
        if let Some(known) = self.environments.get(&tree.key) {
            return known.clone();
        }
        let names = &mut self.policy.names;
        let distributions = tree.distributions.keys().map(|digest| names.distribution(digest));
        let distributions = distributions.collect();
        let mut requires = HashMap::new();
        let imports: Option<&Arc<Imports>> = tree.known_imports();
        for (digest, others) in imports.into_iter().flat_map(|imports| imports.requirements()) {
            let others = others.iter().map(|other| names.distribution(other)).collect();
            requires.insert(names.distribution(digest), others);
        }
        let mut needs = Vec::new();
        for (module, needed) in imports.into_iter().flat_map(|imports| imports.needs()) {
            let mut numbered = |name: &str| {
                let owner = imports.and_then(|imports| imports.owner(name));
                let owner = owner.map(|digest| names.distribution(digest));
                names.module(owner, name)
            };
            needs.push((numbered(module), numbered(needed)));
        }
        for (module, needed) in needs {
            self.policy.needs(module, needed);
        }
        let environment = Arc::new(zygotes::Environment { distributions, requires });
        if imports.is_some() {
            self.environments.insert(tree.key.clone(), environment.clone());
        }
        environment
    }
}

/// Largest file of code that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Reads a file of a function's code. The function chooses that file, so no link is followed, and no read
/// blocks.
fn read_source(code: &Path, path: &str) -> Option<String> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let file = File::from(openat2(File::open(code).ok()?, path, how).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

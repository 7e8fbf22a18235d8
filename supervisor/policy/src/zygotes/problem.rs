//! The choices of a plan, in numbers that are quick to compare.
//!
//! Modules of one distribution that the same functions import are one *atom*: no plan would tell them
//! apart. A *shape* is a possible zygote: its atoms and distributions.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::demand::{Demand, Environment};
use super::names::{DistributionId, Distributions, ModuleId, Modules, Realm};
use super::set::{Id, Set, ids};
use super::situation::{Parameters, Situation};

/// Number of clients, those that could save most, of which each pair's common modules are a shape.
const PAIRED: usize = 48;
/// Maximum number of shapes; those that could save most per byte are kept.
const SHAPES: usize = 2000;

ids! {
    /// A class of modules.
    Atom
    /// The place of a client.
    ClientId
}

pub(super) type Atoms = Set<Atom>;

/// Functions that are equal for every zygote.
#[derive(Debug)]
pub(super) struct Client {
    pub realm: Realm,
    pub distributions: Distributions,
    pub atoms: Atoms,
    /// Starts a second.
    pub rate: f64,
}

/// A possible zygote.
#[derive(Debug)]
pub(super) struct Shape {
    pub realm: Realm,
    pub distributions: Distributions,
    pub atoms: Atoms,
    /// Memory of the zygote's imports, in bytes, including its parents'.
    pub bytes: f64,
    /// Time of the zygote's imports, in microseconds, including its parents'.
    pub us: f64,
    /// Clients that the zygote may serve, and the microseconds that each start saves against a new
    /// interpreter.
    pub serves: Vec<(usize, f64)>,
}

pub(super) struct Problem {
    pub clients: Vec<Client>,
    pub shapes: Vec<Shape>,
    /// The shape of each standing zygote.
    pub standing: Vec<usize>,
    /// Time of each atom, in microseconds, and its memory, in bytes.
    pub us: Vec<f64>,
    pub bytes: Vec<f64>,
    members: Vec<Vec<ModuleId>>,
    owners: Vec<Option<DistributionId>>,
}

type Key = (Realm, Distributions, Atoms);

impl Problem {
    /// The problem that a situation poses.
    pub fn new(situation: &Situation<'_>) -> Self {
        let demand: Vec<_> = situation.demand.iter().filter(|one| one.rate > 0.0).collect();
        let wanted: Vec<Modules> = demand
            .iter()
            .map(|one| one.function.modules.difference(situation.unsafe_modules))
            .collect();
        let standing = situation.standing.iter().map(|one| &one.modules);
        let all = wanted.iter().chain(standing).chain([situation.unsafe_modules]);
        let Classes { atom, us, bytes, members, owners } = Classes::of(all, situation);
        let (clients, shapes, standing) = (Vec::new(), Vec::new(), Vec::new());
        let mut problem = Self { clients, shapes, standing, us, bytes, members, owners };
        let environments = problem.add_clients(&demand, &wanted, &atom);
        let users = Users::of_all(&problem.clients);
        problem.add_shapes(situation, &users, &environments);
        problem.add_standing(situation, &users, &atom);
        problem
    }

    /// Adds a client for each kind of function that is asked for: of one realm and one environment's
    /// distributions, with the same modules. Returns the environment of each.
    fn add_clients<'a>(
        &mut self,
        demand: &[&Demand<'a>],
        wanted: &[Modules],
        atom: &[Atom],
    ) -> Vec<&'a Environment> {
        let mut clients: HashMap<Key, usize> = HashMap::new();
        let mut environments = Vec::new();
        // What no zygote may import is left to import whatever serves, and so tells nothing.
        for (one, modules) in demand.iter().zip(wanted) {
            let atoms: Atoms = modules.iter().map(|module| atom[module.place()]).collect();
            let environment = &*one.function.environment;
            let (realm, distributions) = (one.function.realm, &environment.distributions);
            match clients.entry((realm, distributions.clone(), atoms.clone())) {
                Entry::Occupied(known) => self.clients[*known.get()].rate += one.rate,
                Entry::Vacant(new) => {
                    new.insert(self.clients.len());
                    environments.push(environment);
                    let distributions = distributions.clone();
                    self.clients.push(Client { realm, distributions, atoms, rate: one.rate });
                }
            }
        }
        environments
    }

    /// Adds the zygotes that are worth a look, and are not barred.
    fn add_shapes(
        &mut self,
        situation: &Situation<'_>,
        users: &Users,
        environments: &[&Environment],
    ) {
        let mut keys: HashSet<Key> = HashSet::new();
        for (realm, atoms, client) in self.candidates() {
            let owners: Distributions =
                atoms.iter().filter_map(|atom| self.owners[atom.place()]).collect();
            let distributions = match client {
                Some(client) => environments[client].close(&owners),
                None => owners,
            };
            keys.insert((realm, distributions, atoms));
        }
        for (realm, barred) in situation.barred {
            keys.retain(|(of, _, atoms)| of != realm || self.modules(atoms) != *barred);
        }
        let parameters = situation.parameters;
        self.shapes = keys.into_iter().map(|key| self.shape(key, users, parameters)).collect();
        self.keep_best(parameters);
    }

    /// Adds the zygotes that stand, as shapes that may be among the others already.
    fn add_standing(&mut self, situation: &Situation<'_>, users: &Users, atom: &[Atom]) {
        for one in situation.standing {
            let atoms = one.modules.iter().map(|module| atom[module.place()]).collect();
            let key = (one.realm, one.distributions.clone(), atoms);
            let shape = self.shape(key, users, situation.parameters);
            let same = |other: &Shape| {
                other.realm == shape.realm
                    && other.atoms == shape.atoms
                    && other.distributions == shape.distributions
            };
            let known = self.shapes.iter().position(same);
            self.standing.push(known.unwrap_or(self.shapes.len()));
            if known.is_none() {
                self.shapes.push(shape);
            }
        }
    }

    /// The modules of atoms.
    pub fn modules(&self, atoms: &Atoms) -> Modules {
        atoms.iter().flat_map(|atom| self.members[atom.place()].iter().copied()).collect()
    }

    /// Sets of atoms worth a zygote, each with a client whose environment has them: the empty set, all
    /// imports of a client, the common imports of two clients, and the common imports of all users of a
    /// distribution.
    fn candidates(&self) -> Vec<(Realm, Atoms, Option<usize>)> {
        let mut found = Vec::new();
        let mut by_worth: Vec<usize> = (0..self.clients.len()).collect();
        let worth = |&client: &usize| {
            let client = &self.clients[client];
            client.rate * client.atoms.weight(&self.us)
        };
        let worths: Vec<f64> = by_worth.iter().map(worth).collect();
        by_worth.sort_by(|&a, &b| worths[b].total_cmp(&worths[a]).then(a.cmp(&b)));
        for (place, &one) in by_worth.iter().enumerate() {
            let client = &self.clients[one];
            found.push((client.realm, Atoms::new(), None));
            found.push((client.realm, client.atoms.clone(), Some(one)));
            for &other in by_worth[..place.min(PAIRED)].iter().filter(|_| place < PAIRED) {
                let other = &self.clients[other];
                if other.realm == client.realm {
                    found.push((client.realm, client.atoms.intersection(&other.atoms), Some(one)));
                }
            }
        }
        found.extend(self.cores());
        found
    }

    /// The common imports of all clients that import anything of a distribution.
    fn cores(&self) -> Vec<(Realm, Atoms, Option<usize>)> {
        let mut cores: HashMap<(Realm, DistributionId), (Atoms, usize)> = HashMap::new();
        for (place, client) in self.clients.iter().enumerate() {
            let owners: Distributions =
                client.atoms.iter().filter_map(|atom| self.owners[atom.place()]).collect();
            for owner in owners.iter() {
                match cores.entry((client.realm, owner)) {
                    Entry::Vacant(new) => {
                        new.insert((client.atoms.clone(), place));
                    }
                    Entry::Occupied(mut known) => {
                        let core = &mut known.get_mut().0;
                        *core = core.intersection(&client.atoms);
                    }
                }
            }
        }
        cores
            .into_iter()
            .map(|((realm, _), (atoms, client))| (realm, atoms, Some(client)))
            .collect()
    }

    fn shape(
        &self,
        (realm, distributions, atoms): Key,
        users: &Users,
        parameters: &Parameters,
    ) -> Shape {
        let (bytes, us) = (atoms.weight(&self.bytes), atoms.weight(&self.us));
        let fork = parameters.fork_us
            + parameters.fork_us_per_mib * (bytes + parameters.interpreter_bytes) / 1_048_576.0;
        let saved = |client: usize| {
            let shared = self.clients[client].atoms.common_weight(&atoms, &self.us);
            parameters.interpreter_us + shared - fork
        };
        let may = users.of(realm, &distributions);
        let serves = may.iter().map(Id::place);
        let serves = serves.map(|client| (client, saved(client)));
        let serves = serves.filter(|&(_, saved)| saved > 0.0).collect();
        Shape { realm, distributions, atoms, bytes, us, serves }
    }

    /// Drops the shapes that could save least per byte. Shapes without imports stay, because all others
    /// need them.
    fn keep_best(&mut self, parameters: &Parameters) {
        let density = |shape: &Shape| {
            if shape.atoms.is_empty() {
                return f64::INFINITY;
            }
            let saved: f64 =
                shape.serves.iter().map(|&(client, us)| self.clients[client].rate * us).sum();
            saved / (parameters.overhead_bytes + shape.bytes)
        };
        let mut rated: Vec<(f64, Shape)> = std::mem::take(&mut self.shapes)
            .into_iter()
            .map(|shape| (density(&shape), shape))
            .collect();
        // Their order must not be that of a hash table: equal situations have equal plans.
        rated.sort_by(|(a, one), (b, other)| {
            let members = |shape: &Shape| shape.atoms.iter().map(Id::place).collect::<Vec<_>>();
            b.total_cmp(a).then_with(|| members(one).cmp(&members(other)))
        });
        rated.truncate(SHAPES);
        self.shapes = rated.into_iter().map(|(_, shape)| shape).collect();
    }
}

/// Clients by realm and by distribution. The clients that have all of some distributions are found
/// without a look at each client.
struct Users {
    of_realm: HashMap<Realm, Set<ClientId>>,
    of_distribution: HashMap<DistributionId, Set<ClientId>>,
}

impl Users {
    fn of_all(clients: &[Client]) -> Self {
        let mut users = Self { of_realm: HashMap::new(), of_distribution: HashMap::new() };
        for (place, client) in clients.iter().enumerate() {
            let id = ClientId::at(place);
            users.of_realm.entry(client.realm).or_default().insert(id);
            for distribution in client.distributions.iter() {
                users.of_distribution.entry(distribution).or_default().insert(id);
            }
        }
        users
    }

    /// The clients that a zygote of a realm and distributions may serve.
    fn of(&self, realm: Realm, distributions: &Distributions) -> Set<ClientId> {
        let mut found = self.of_realm.get(&realm).cloned().unwrap_or_default();
        for distribution in distributions.iter() {
            match self.of_distribution.get(&distribution) {
                Some(users) => found = found.intersection(users),
                None => return Set::new(),
            }
        }
        found
    }
}

/// Modules by atom.
struct Classes {
    /// The atom of each module; meaningless for modules that no set has.
    atom: Vec<Atom>,
    members: Vec<Vec<ModuleId>>,
    owners: Vec<Option<DistributionId>>,
    us: Vec<f64>,
    bytes: Vec<f64>,
}

impl Classes {
    /// Splits the modules by each set in turn: those inside from those outside.
    fn of<'a>(sets: impl Iterator<Item = &'a Modules>, situation: &Situation<'_>) -> Self {
        let mut class = vec![0; situation.names.modules()];
        let mut classes = 1;
        let mut known: HashSet<&Modules> = HashSet::new();
        for set in sets {
            if !known.insert(set) {
                continue;
            }
            let mut split: HashMap<usize, usize> = HashMap::new();
            for module in set.iter() {
                let class = &mut class[module.place()];
                *class = *split.entry(*class).or_insert_with(|| {
                    classes += 1;
                    classes - 1
                });
            }
        }
        let mut atoms: HashMap<(usize, Option<DistributionId>), usize> = HashMap::new();
        let mut made = Self {
            atom: Vec::with_capacity(class.len()),
            members: Vec::new(),
            owners: Vec::new(),
            us: Vec::new(),
            bytes: Vec::new(),
        };
        for (place, class) in class.into_iter().enumerate() {
            let module = ModuleId::at(place);
            // Class 0 has the modules that no set has.
            if class == 0 {
                made.atom.push(Atom::at(0));
                continue;
            }
            let owner = situation.names.module_named(module).distribution;
            let next = made.members.len();
            let atom = *atoms.entry((class, owner)).or_insert(next);
            if atom == next {
                made.members.push(Vec::new());
                made.owners.push(owner);
                made.us.push(0.0);
                made.bytes.push(0.0);
            }
            let cost = situation.costs.of(module);
            made.members[atom].push(module);
            made.us[atom] += cost.us;
            made.bytes[atom] += cost.bytes;
            made.atom.push(Atom::at(atom));
        }
        made
    }
}

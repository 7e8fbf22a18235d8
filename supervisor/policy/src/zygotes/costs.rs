//! The measured cost of importing each module.

use super::names::{ModuleId, Modules};
use super::set::Id;

/// Weight of a new measurement: it is small, because machines are noisy and a package does not change
/// under its digest.
const NEWEST: f64 = 0.25;

/// Time and memory of one import, without those of the imports that it caused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Microseconds.
    pub us: f64,
    /// Private memory in bytes.
    pub bytes: f64,
}

/// The cost assumed until a module is measured: about that of a module of a popular package.
const UNKNOWN: Cost = Cost { us: 500.0, bytes: 100_000.0 };

/// The costs of all modules.
#[derive(Debug, Default)]
pub struct Costs(Vec<Option<Cost>>);

impl Costs {
    /// Includes a measurement.
    pub fn observe(&mut self, module: ModuleId, measured: Cost) {
        if self.0.len() <= module.place() {
            self.0.resize(module.place() + 1, None);
        }
        let known = self.0[module.place()].get_or_insert(measured);
        known.us += NEWEST * (measured.us - known.us);
        known.bytes += NEWEST * (measured.bytes - known.bytes);
    }

    /// The cost of a module, if it was measured.
    pub fn measured(&self, module: ModuleId) -> Option<Cost> {
        self.0.get(module.place()).copied().flatten()
    }

    /// The cost of a module, measured or assumed.
    pub fn of(&self, module: ModuleId) -> Cost {
        self.measured(module).unwrap_or(UNKNOWN)
    }

    /// The sum of the costs of modules.
    pub fn sum(&self, modules: &Modules) -> Cost {
        modules.iter().map(|module| self.of(module)).fold(
            Cost { us: 0.0, bytes: 0.0 },
            |sum, one| Cost { us: sum.us + one.us, bytes: sum.bytes + one.bytes },
        )
    }
}

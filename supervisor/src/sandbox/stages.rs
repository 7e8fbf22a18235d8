//! Sandboxes that are on their way: being made, or taken down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipsqueak::wire::ChangingSandbox;
pub use pipsqueak::wire::SandboxChange as Stage;

use super::order::Standing;

/// Sandboxes that are on their way, by number.
#[derive(Debug, Default)]
pub struct Stages {
    noted: Mutex<BTreeMap<u64, (Standing, Stage)>>,
}

/// A sandbox in a stage, until it is dropped.
#[derive(Debug)]
pub struct Noted {
    id: u64,
    stages: Arc<Stages>,
}

impl Stages {
    /// Notes a sandbox.
    pub fn enter(self: &Arc<Self>, id: u64, standing: Standing, stage: Stage) -> Noted {
        self.lock().insert(id, (standing, stage));
        Noted { id, stages: self.clone() }
    }

    /// All of them.
    pub fn all(&self) -> Vec<ChangingSandbox> {
        let noted = self.lock();
        let told = noted.iter().map(|(id, (standing, state))| ChangingSandbox {
            id: *id,
            standing: standing.word().to_owned(),
            state: *state,
        });
        told.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, (Standing, Stage)>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.stages.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_done_is_not_told() {
        let stages = Arc::<Stages>::default();
        let making = stages.enter(1, Standing::Zygote, Stage::Making);
        let ending = stages.enter(2, Standing::Function, Stage::Ending);
        drop(making);
        let told = stages.all();
        assert_eq!((told.len(), told[0].id, told[0].state), (1, 2, Stage::Ending));
        assert_eq!(told[0].standing, "function");
        drop(ending);
        assert!(stages.all().is_empty());
    }
}

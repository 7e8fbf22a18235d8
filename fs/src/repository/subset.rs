//! Views of some of an environment's distributions: what a zygote sees that is to serve several
//! environments.

use super::environment;
use super::{Lease, Repository, RepositoryError};

/// A view that no environment's name stands for, shown as [`super::retained_name`]. It is collected as
/// others are.
#[derive(Debug)]
pub struct Subset {
    /// Digest of its distributions and interpreter, as environments have it that have the same.
    pub digest: String,
    /// Digest of the view.
    pub view: String,
    /// Keeps it from that.
    pub lease: Lease,
}

impl Repository {
    /// Makes the view of those distributions of another view whose digests are `wanted`. The mount is
    /// to be told that there is another name. Blocks.
    pub fn subset(
        &self,
        view: &str,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Subset, RepositoryError> {
        let _turn = self.turn();
        let unknown = || RepositoryError::Unknown(view.to_owned());
        let whole = self.catalog.view(view)?.ok_or_else(unknown)?;
        let interpreter = whole.interpreter.ok_or_else(unknown)?;
        // What makes it look like an environment is no package, and belongs to all.
        let (frame, members): (Vec<_>, Vec<_>) =
            whole.parts.into_iter().partition(|part| part.name == environment::VENV);
        let members: Vec<_> = members.into_iter().filter(|one| wanted(&one.digest)).collect();
        let digest = environment::digest(&interpreter, &members);
        let view = environment::view("", &digest);
        let lease = self.lease(&view);
        let parts: Vec<_> = frame.into_iter().chain(members).collect();
        self.views().make(&view, &parts, Some(&interpreter))?;
        self.catalog.reach(&view)?;
        self.show_subset(&view)?;
        Ok(Subset { digest, view, lease })
    }
}

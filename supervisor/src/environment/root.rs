//! The root folder of an environment's view, open, for those who mount it elsewhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use pipsqueak_fs::{Environment, retained_name};

use super::table::is_of_requirements;
use super::{Environments, EnvironmentsError};

/// How long the mount may take to show what the catalog says.
const PATIENCE: Duration = Duration::from_secs(10);

/// A view and the folder that is its root.
#[derive(Debug)]
pub struct Root {
    /// Digest of the view.
    pub view: String,
    /// Where its packages are, below the root.
    pub site_packages: String,
    /// The root. It stays this view's, whatever its name stands for later.
    pub folder: File,
}

impl Environments {
    /// The root of what an environment's name stands for now. Blocks.
    pub fn root(&self, name: &str) -> Result<Root, EnvironmentsError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let stored = self.shared.repository.environment(name)?;
            let environment = stored.ok_or_else(|| EnvironmentsError::Unknown(name.to_owned()))?;
            match self.open_root(&environment.view, name) {
                Ok(folder) => return Ok(root(environment, folder)),
                // It is just being published.
                Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Where the mount is.
    pub fn mount(&self) -> &Path {
        self.shared.keeper.path()
    }

    /// Names and views of all environments that somebody has named, by name. Blocks.
    pub fn named(&self) -> Result<Vec<(String, String)>, EnvironmentsError> {
        let all = self.shared.repository.environments()?.into_iter();
        let named = all.filter(|environment| !is_of_requirements(&environment.name));
        Ok(named.map(|environment| (environment.name, environment.view)).collect())
    }

    /// Shows these views in the mount, also where no name stands for them any more. Blocks.
    pub fn retain(&self, views: BTreeSet<String>) -> Result<(), EnvironmentsError> {
        let names: Vec<_> = views.iter().map(|view| retained_name(view)).collect();
        self.shared.repository.retain(views)?;
        let io = |error| EnvironmentsError::Io { name: names.join(", "), error };
        self.shared.keeper.publish(&names).map_err(io)
    }

    /// The root of a view that some name stands for, or that is retained. Blocks.
    pub fn root_of_view(&self, view: &str) -> Result<File, EnvironmentsError> {
        let all = self.shared.repository.environments()?.into_iter();
        let mut named = all.filter(|environment| environment.view == view);
        let name = named.next().map_or_else(|| retained_name(view), |environment| environment.name);
        self.open_root(view, &name)
    }

    /// The views that folders of the mount are in, by their inode numbers. Blocks.
    pub fn views_of(&self, inodes: &BTreeSet<u64>) -> Result<BTreeSet<String>, EnvironmentsError> {
        let mut views = BTreeSet::new();
        for inode in inodes {
            views.extend(self.shared.repository.view_of(*inode)?);
        }
        Ok(views)
    }

    /// Opens what the mount shows as `name`, which must be the root of `view`.
    fn open_root(&self, view: &str, name: &str) -> Result<File, EnvironmentsError> {
        let wanted = self.shared.repository.root_inode(view)?;
        let path = self.mount().join("envs").join(name);
        let opened = File::open(&path).and_then(|folder| {
            if folder.metadata()?.ino() == wanted {
                return Ok(folder);
            }
            Err(io::Error::other(format!("{} shows another view than {view}", path.display())))
        });
        opened.map_err(|error| EnvironmentsError::Io { name: name.to_owned(), error })
    }
}

fn root(environment: Environment, folder: File) -> Root {
    let site_packages = environment.interpreter.site_packages();
    Root { view: environment.view, site_packages, folder }
}

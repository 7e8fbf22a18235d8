//! Search for the wheel with a given digest, in several indexes that have the name and version.

use crate::ingest::confine::Confine;
use crate::ingest::resolve::archive_urls::ArchiveUrls;
use crate::ingest::resolve::lock;
use crate::ingest::resolve::uv::Uv;
use crate::ingest::resolve::wanted::Wanted;
use crate::ingest::{AddError, credentials};

impl Uv<'_> {
    /// The wheels of `package` whose digests are given, from the first index that has any; none if there
    /// is one index only, or if none has them.
    pub fn find_wheels(
        &self,
        confine: &dyn Confine,
        wanted: &Wanted,
        package: &str,
    ) -> Result<ArchiveUrls, AddError> {
        let scope = self.scope(wanted);
        let indexes = scope.each();
        if indexes.len() < 2 {
            return Ok(ArchiveUrls::default());
        }
        let requirements = self.requirements("wheel.txt", &wanted.asking_for(package))?;
        for index in indexes {
            let mut arguments = self.arguments(&["pip", "compile", "--format", "pylock.toml"]);
            arguments
                .extend(["--no-header", "--no-deps", "--only-binary", ":all:"].map(Into::into));
            arguments.extend(["--python".into(), self.host.executable.clone().into()]);
            arguments.extend(self.python_version());
            arguments.push(requirements.clone());
            let label = "looking for a wheel by its digest";
            let output = confine.run(&self.online(label, arguments, None, wanted, &index))?;
            let text = String::from_utf8_lossy(&output.stdout);
            if output.status == 0
                && let Ok(found) = lock::archives(&credentials::remove(&text))
            {
                let found = found.with(|hash| wanted.gives(package, hash));
                if !found.is_empty() {
                    return Ok(found);
                }
            }
        }
        Ok(ArchiveUrls::default())
    }
}

//! Packages that a function asks for, and the name of the environment that has them.

use pipsqueak::wire;
use pipsqueak_fs::Requirements;

use crate::deployment::Function;

/// The name of a function's environment: its own, or one that all functions with the same
/// requirements share.
pub(super) fn name_of(function: &Function) -> &str {
    if let Some(name) = &function.info.environment {
        return name;
    }
    function.environment_name.get_or_init(|| {
        let text = serde_json::to_vec(&requirements_of(function)).unwrap_or_default();
        let digest = blake3::hash(&text).to_hex();
        format!("requirements-{}", &digest[..16])
    })
}

/// Requirements that a function was deployed with; empty if it has none.
pub(super) fn requirements_of(function: &Function) -> Requirements {
    function.info.requirements.clone().map(requirements).unwrap_or_default()
}

/// Requirements in the store's form.
pub fn requirements(sent: wire::Requirements) -> Requirements {
    match sent {
        wire::Requirements::Listed {
            requirements,
            constraints,
            requires_python,
            allow_build,
            is_brought,
        } => Requirements::Listed {
            requirements,
            constraints,
            requires_python,
            allow_build,
            is_brought,
        },
        wire::Requirements::Locked { lock, is_brought } => {
            Requirements::Locked { lock, is_brought }
        }
    }
}

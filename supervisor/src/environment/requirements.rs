//! What packages a function asks for, and which environment has them.

use pipsqueak::wire;
use pipsqueak_fs::Requirements;

use crate::function::Function;

/// The name of a function's environment: its own, or one that all functions with the same
/// requirements share.
pub(super) fn name_of(function: &Function) -> &str {
    if let Some(name) = &function.info.environment {
        return name;
    }
    function.environment_name.get_or_init(|| {
        let text = serde_json::to_vec(&requirements_of(function)).unwrap_or_default();
        let digest = blake3::hash(&text).to_hex();
        format!("{OF_REQUIREMENTS}{}", &digest[..OF_REQUIREMENTS_DIGITS])
    })
}

/// What names of environments begin with that functions have by their requirements alone.
const OF_REQUIREMENTS: &str = "requirements-";
/// Digits of the requirements' digest that follow.
const OF_REQUIREMENTS_DIGITS: usize = 16;

/// Whether a name is that of an environment which functions have by their requirements alone.
pub(super) fn is_of_requirements(name: &str) -> bool {
    name.strip_prefix(OF_REQUIREMENTS).is_some_and(|digits| {
        digits.len() == OF_REQUIREMENTS_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// What a function that names no environment was deployed with.
pub(super) fn requirements_of(function: &Function) -> Requirements {
    function.info.requirements.clone().map(requirements).unwrap_or_default()
}

/// Requirements as the store knows them.
pub fn requirements(sent: wire::Requirements) -> Requirements {
    match sent {
        wire::Requirements::Listed { requirements, constraints, requires_python, allow_build } => {
            Requirements::Listed { requirements, constraints, requires_python, allow_build }
        }
        wire::Requirements::Locked { lock } => Requirements::Locked { lock },
    }
}

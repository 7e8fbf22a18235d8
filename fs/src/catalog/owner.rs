//! Owners of environments.

/// Whose an environment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Somebody has named it; it stays until it is removed.
    User,
    /// Functions share it by their requirements; it goes with the last of them.
    Functions,
}

impl Owner {
    /// As the catalog has it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Functions => "functions",
        }
    }

    /// What the catalog has. What is not known stays as a user's does.
    pub(crate) fn of(text: &str) -> Self {
        if text == Self::Functions.text() { Self::Functions } else { Self::User }
    }
}

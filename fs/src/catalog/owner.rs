//! Owners of environments.

/// Owner of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Somebody has named it; it stays until it is removed.
    User,
    /// Functions share it by their requirements; it goes with the last of them.
    Functions,
}

impl Owner {
    /// Text of the owner in the catalog.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Functions => "functions",
        }
    }

    /// Reads the text in the catalog. What is not known stays as a user's does.
    pub(crate) fn of(text: &str) -> Self {
        if text == Self::Functions.text() { Self::Functions } else { Self::User }
    }
}

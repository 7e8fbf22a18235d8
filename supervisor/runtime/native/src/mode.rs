//! What the import system's entry points do besides importing.

/// The work of the entry points besides importing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Off,
    /// Note the modules that each import wants.
    Recording,
    /// Check each taken module while a handler is loaded.
    Loading,
    /// Check each taken module while a handler runs.
    Running,
}

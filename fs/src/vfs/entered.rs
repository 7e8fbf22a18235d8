//! Folders that processes enter.

use serde::{Deserialize, Serialize};

/// A process asks for the first time what is in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entered {
    /// The view.
    pub view: String,
    /// True if a name led to it, false if the folder of views did.
    pub is_named: bool,
    /// The folder's node in its index.
    pub node: u32,
    /// The thread that asks.
    pub thread: u32,
}

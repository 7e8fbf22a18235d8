//! What crosses between a client and the supervisor: framed, versioned JSON messages.

mod frame;
mod reply;
mod request;
mod version;

pub use frame::{FrameError, FrameKind, HEADER_BYTES, Header, MAX_FRAME_BYTES, encode};
pub use reply::{
    DistributionInfo, EnvironmentInfo, Fault, FaultKind, FunctionError, FunctionInfo, Invocation,
    MountStatus, Outcome, Progress, Reply, SandboxInfo, Status, Tier, ZygoteInfo,
};
pub use request::{Deploy, Evict, Network, Request};
pub use version::{Refusal, VERSION};

//! Messages between a client and the supervisor: framed, versioned JSON.

mod events;
mod explanation;
mod frame;
mod invocation;
mod logs;
mod reply;
mod request;
mod status;
mod store;
mod version;

pub use events::{
    Accepted, AsyncPolicy, EventCondition, EventCounts, EventInfo, EventOrigin, EventState,
    EventsRequest, MAX_EVENT_BYTES,
};
pub use explanation::{Explanation, Imports, UnsafeModule, Verdict};
pub use frame::{
    FrameError, FrameKind, HEADER_BYTES, Header, MAX_FRAME_BYTES, MAX_PART_BYTES, encode,
    encode_bytes,
};
pub use invocation::{FunctionError, Invocation, Outcome, Tier};
pub use logs::{LogRecord, LogSource, LogsRequest};
pub use reply::{
    DEFAULT_TMP, DistributionInfo, EnvironmentInfo, Export, Fault, FaultKind, FunctionInfo,
    HIDDEN_VALUE, Progress, Reply,
};
pub use request::{
    DEFAULT_PAYLOAD, Deploy, Evict, MOST_CONCURRENCY, MOST_PAYLOAD, Network, Request, Requirements,
};
pub use status::{
    ChangingSandbox, ContainersStatus, MountStatus, SandboxChange, SandboxInfo, SandboxState,
    Status, ZygoteInfo,
};
pub use store::{Checked, Collected, Cost, Finding, LeaseInfo, Repaired, StoreRequest, Usage};
pub use version::{Refusal, VERSION};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_and_results_come_back_to_the_byte() {
        let payload = r#"{"n": 1.10, "big": 123456789012345678901234567890}"#;
        let raw = || serde_json::value::RawValue::from_string(payload.to_owned()).unwrap();
        let request =
            Request::Invoke { function: "f".to_owned(), payload: raw(), deadline_ms: None };
        let text = serde_json::to_string(&request).unwrap();
        let Request::Invoke { payload: back, .. } = serde_json::from_str(&text).unwrap() else {
            panic!("another request came back");
        };
        assert_eq!(back.get(), payload);
        let reply = Reply::Invocation(Invocation {
            result: Some(raw()),
            error: None,
            outcome: Outcome::Done,
            tier: Tier::Paused,
            queue_us: 0,
            start_us: 1,
            run_us: 2,
            total_us: 3,
            logs: String::new(),
            request_id: "1".to_owned(),
        });
        let text = serde_json::to_string(&reply).unwrap();
        let Reply::Invocation(back) = serde_json::from_str(&text).unwrap() else {
            panic!("another reply came back");
        };
        assert_eq!(back.result.unwrap().get(), payload);
    }
}

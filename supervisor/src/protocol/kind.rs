//! The kinds of messages, by the byte that each begins with.

/// To a zygote: import.
pub const IMPORT: u8 = 1;
/// To a zygote: fork.
pub const FORK: u8 = 2;
/// From a zygote: all is imported.
pub const READY: u8 = 17;
/// From a zygote: an import has failed.
pub const FAILED: u8 = 18;
/// From a zygote: it cannot fork.
pub const UNREADY: u8 = 19;
/// From a zygote: its trial child has done what each child will.
pub const TRIED: u8 = 20;
/// From a zygote: it has forked.
pub const FORKED: u8 = 21;
/// From a zygote or its child: there is no child, or none of use.
pub const REFUSED: u8 = 22;
/// To a function's process: import ahead.
pub const STANDBY: u8 = 33;
/// To a function's process: load the handler.
pub const LOAD: u8 = 34;
/// To a function's process: an invocation; the body is the event.
pub const INVOKE: u8 = 35;
/// To a function's process: part of a stream; the body is part of the client's body.
pub const TOLD: u8 = 36;
/// To a function's process: another pipe to print to, attached to the message.
pub const OUTPUT: u8 = 37;
/// From a function's process: the answer to an invocation; the body is the result.
pub const ANSWER: u8 = 49;
/// From a function's process: the body is output of an invocation.
pub const PRINTED: u8 = 50;
/// From a function's process: part of a stream; the body is part of the result.
pub const SAID: u8 = 51;
/// From a function's process: imports ahead are done, or have failed.
pub const PREPARED: u8 = 52;

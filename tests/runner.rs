//! Runs the integration tests: declares them all, and ends what they share.
//!
//! They make real mounts, namespaces and control groups, each instance in temporary folders of
//! its own, so they run beside each other and beside a running Pipsqueak.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)]

mod calls;
mod fault;
mod harness;
mod mount;
mod regression;
mod sandbox;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test and its name.
pub type Test = (&'static str, fn());

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let groups: [(&str, Vec<Test>); 13] = [
        ("calls::bad_input", calls::bad_input::tests()),
        ("calls::documentation", calls::documentation::tests()),
        ("calls::lifecycle", calls::lifecycle::tests()),
        ("calls::limits", calls::limits::tests()),
        ("calls::protocol", calls::protocol::tests()),
        ("calls::tiers", calls::tiers::tests()),
        ("fault::kill", fault::kill::tests()),
        ("mount::cold", mount::cold::tests()),
        ("mount::content", mount::content::tests()),
        ("mount::sharing", mount::sharing::tests()),
        ("mount::warm", mount::warm::tests()),
        ("regression", regression::tests()),
        ("sandbox::inside", sandbox::inside::tests()),
    ];
    let trials = groups.into_iter().flat_map(|(group, tests)| {
        tests.into_iter().map(move |(name, test)| {
            Trial::test(format!("{group}::{name}"), move || {
                test();
                Ok(())
            })
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    harness::end_shared();
    conclusion.exit_code()
}

/// Names tests after their functions.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub fn tests() -> Vec<$crate::Test> {
            vec![$((stringify!($name), $name as fn())),*]
        }
    };
}

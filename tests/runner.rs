//! Runs the integration tests: declares all, and ends the instances that they share.
//!
//! Tests make real mounts, namespaces and control groups, each instance in temporary folders of its
//! own. So tests run beside each other and beside a running Pipsqueak.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)]

mod attacks;
mod calls;
mod containers;
mod deploy;
mod eviction;
mod fault;
mod harness;
mod ingest;
mod mount;
mod pages;
mod regression;
mod sandbox;
mod store;
mod zygote;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test.
pub struct Test {
    /// The test's name.
    pub name: &'static str,
    /// The test's function.
    pub run: fn(),
    /// True if only `tools/test --long` runs the test.
    pub is_long: bool,
}

/// All tests, by module.
pub fn groups() -> Vec<(&'static str, Vec<Test>)> {
    let mut groups = vec![
        ("attacks::channel", attacks::channel::tests()),
        ("attacks::cores", attacks::cores::tests()),
        ("attacks::exhaustion", attacks::exhaustion::tests()),
        ("attacks::inodes", attacks::inodes::tests()),
        ("attacks::neighbours", attacks::neighbours::tests()),
        ("attacks::reach", attacks::reach::tests()),
        ("attacks::zygotes", attacks::zygotes::tests()),
        ("calls::admission", calls::admission::tests()),
        ("calls::answers", calls::answers::tests()),
        ("calls::bad_input", calls::bad_input::tests()),
        ("calls::concurrency", calls::concurrency::tests()),
        ("calls::configuration", calls::configuration::tests()),
        ("calls::documentation", calls::documentation::tests()),
        ("calls::events", calls::events::tests()),
        ("calls::index", calls::index::tests()),
        ("calls::interpreters", calls::interpreters::tests()),
        ("calls::lifecycle", calls::lifecycle::tests()),
        ("calls::limits", calls::limits::tests()),
        ("calls::logs", calls::logs::tests()),
        ("calls::misbehaving", calls::misbehaving::tests()),
        ("calls::nat", calls::nat::tests()),
        ("calls::programs", calls::programs::tests()),
        ("calls::protocol", calls::protocol::tests()),
        ("calls::requirements", calls::requirements::tests()),
        ("calls::sealed", calls::sealed::tests()),
        ("calls::secrets", calls::secrets::tests()),
        ("calls::streaming", calls::streaming::tests()),
        ("calls::terminal", calls::terminal::tests()),
        ("calls::tiers", calls::tiers::tests()),
        ("fault::damage", fault::damage::tests()),
        ("containers::docker", containers::docker::tests()),
        ("containers::documentation", containers::documentation::tests()),
        ("containers::leases", containers::leases::tests()),
        ("containers::lifetime", containers::lifetime::tests()),
        ("containers::podman", containers::podman::tests()),
        ("deploy::applications", deploy::applications::tests()),
        ("deploy::archives", deploy::archives::tests()),
        ("deploy::entry", deploy::entry::tests()),
        ("deploy::failures", deploy::failures::tests()),
        ("deploy::openlambda", deploy::openlambda::tests()),
        ("deploy::sources", deploy::sources::tests()),
        ("deploy::versions", deploy::versions::tests()),
        ("eviction::paused", eviction::paused::tests()),
        ("eviction::pressure", eviction::pressure::tests()),
        ("fault::endurance", fault::endurance::tests()),
        ("fault::events", fault::events::tests()),
        ("fault::hang", fault::hang::tests()),
        ("fault::kill", fault::kill::tests()),
        ("fault::matrix", fault::matrix::tests()),
        ("fault::orphans", fault::orphans::tests()),
        ("fault::restart", fault::restart::tests()),
        ("fault::service", fault::service::tests()),
        ("fault::soak", fault::soak::tests()),
        ("fault::stuck", fault::stuck::tests()),
        ("fault::succession", fault::succession::tests()),
        ("fault::unserved", fault::unserved::tests()),
        ("fault::upgrade", fault::upgrade::tests()),
        ("ingest::hostile", ingest::hostile::tests()),
        ("ingest::indexes", ingest::indexes::tests()),
        ("ingest::lines", ingest::lines::tests()),
        ("mount::cold", mount::cold::tests()),
        ("mount::content", mount::content::tests()),
        ("mount::overlay", mount::overlay::tests()),
        ("mount::popular", mount::popular::tests()),
        ("mount::sharing", mount::sharing::tests()),
        ("mount::warm", mount::warm::tests()),
        ("pages", pages::tests()),
        ("regression", regression::tests()),
        ("sandbox::inside", sandbox::inside::tests()),
        ("sandbox::limits", sandbox::limits::tests()),
        ("sandbox::system", sandbox::system::tests()),
        ("sandbox::usual", sandbox::usual::tests()),
        ("store::collecting", store::collecting::tests()),
        ("store::damage", store::damage::tests()),
        ("store::full", store::full::tests()),
        ("store::orders", store::orders::tests()),
        ("store::roots", store::roots::tests()),
    ];
    groups.extend(of_zygotes());
    groups
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = groups().into_iter().flat_map(|(group, tests)| {
        tests.into_iter().map(move |Test { name, run, is_long }| {
            let whole = format!("{group}::{name}");
            let trial = Trial::test(whole.clone(), move || {
                let _watched = harness::watchdog::watch(&whole, is_long);
                run();
                Ok(())
            });
            trial.with_ignored_flag(is_long)
        })
    });
    harness::watchdog::start();
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    containers::end_shared();
    harness::end_shared();
    conclusion.exit_code()
}

fn of_zygotes() -> Vec<(&'static str, Vec<Test>)> {
    vec![
        ("zygote::ahead", zygote::ahead::tests()),
        ("zygote::children", zygote::children::tests()),
        ("zygote::files", zygote::files::tests()),
        ("zygote::forked", zygote::forked::tests()),
        ("zygote::hooks", zygote::hooks::tests()),
        ("zygote::libraries", zygote::libraries::tests()),
        ("zygote::loading", zygote::loading::tests()),
        ("zygote::metadata", zygote::metadata::tests()),
        ("zygote::contents", zygote::contents::tests()),
        ("zygote::order", zygote::order::tests()),
        ("zygote::reads", zygote::reads::tests()),
        ("zygote::replacing", zygote::replacing::tests()),
        ("zygote::safety", zygote::safety::tests()),
        ("zygote::same", zygote::same::tests()),
        ("zygote::standbys", zygote::standbys::tests()),
        ("zygote::suites", zygote::suites::tests()),
        ("zygote::tree", zygote::tree::tests()),
        ("zygote::unique", zygote::unique::tests()),
    ]
}

/// Declares tests by their functions; `tools/test` runs those after `long` only with `--long`.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)? $(; long $($long:ident),* $(,)?)?) => {
        pub fn tests() -> Vec<$crate::Test> {
            vec![
                $($crate::Test { name: stringify!($name), run: $name, is_long: false },)*
                $($($crate::Test { name: stringify!($long), run: $long, is_long: true },)*)?
            ]
        }
    };
}

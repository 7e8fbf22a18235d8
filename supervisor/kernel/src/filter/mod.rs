//! The filter of system calls for code that is not ours.
//!
//! The calls, and the reasons, are data in [`allowed`] and [`calls`]. The data becomes two programs, because one knows a single
//! answer besides "go on": the first lets through what is allowed and says ENOSYS to all else, the
//! second says EPERM to what is refused. Of two answers with an error the kernel takes that of the
//! program that was installed last. A call in another architecture's way (32-bit ones on `x86_64`)
//! ends the process.
//!
//! Filters cannot be taken off, and children have their parents'. So a zygote's children are born
//! with its filter, and only put [`Filter::of_entered`] on top, which takes away what a zygote needs.

pub mod allowed;
pub mod calls;

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use allowed::ALLOWED;
use calls::{GUARDED, Guard, Is, JOINING, JOINING_SANDBOXES, OWNED, OWNING, REFUSED, Test};

use crate::listener::{self, Listener};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A filter, ready to be installed: compiled once, installed any number of times.
#[derive(Debug)]
pub struct Filter(Vec<BpfProgram>);

impl Filter {
    /// Compiles the filter for functions, and for jobs that install and build packages.
    pub fn of_function() -> io::Result<Self> {
        let mut refused = refused()?;
        refused.extend(JOINING.calls.iter().map(|call| (*call, Vec::new())));
        Ok(Self(vec![known()?, refusing(refused)?]))
    }

    /// Compiles the filter for a zygote's child that has entered its sandbox: with it, a zygote's filter is a function's.
    pub fn of_entered() -> io::Result<Self> {
        let mut refused: Rules = JOINING.calls.iter().map(|call| (*call, Vec::new())).collect();
        refused.extend([guarded(&OWNING)?]);
        Ok(Self(vec![refusing(refused)?]))
    }

    /// Puts the filter on the calling thread and what it forks, for good. New privileges are
    /// forbidden to it with that.
    pub fn install(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|program| match apply_filter(program) {
            Ok(()) => Ok(()),
            Err(seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error)) => {
                Err(error)
            }
            Err(error) => Err(io::Error::other(error)),
        })
    }
}

/// A zygote's filter: as for functions, but for the way into its children's sandboxes, on which it asks.
#[derive(Debug)]
pub struct ZygoteFilter {
    asking: BpfProgram,
    others: Filter,
}

impl ZygoteFilter {
    /// Compiles it.
    pub fn compile() -> io::Result<Self> {
        let mut refused = refused()?;
        refused.extend([guarded(&JOINING_SANDBOXES)?]);
        for guard in OWNED {
            refused.extend([guarded(guard)?]);
        }
        let others = Filter(vec![known()?, refusing(refused)?]);
        let asking = Rules::from([guarded(&OWNING)?]);
        // The crate knows no answer by which another process is asked, so another one takes its place.
        let mut asking = compile(asking, SeccompAction::Trace(0), SeccompAction::Allow)?;
        for instruction in &mut asking {
            if u32::from(instruction.code) == libc::BPF_RET | libc::BPF_K
                && instruction.k == libc::SECCOMP_RET_TRACE
            {
                instruction.k = libc::SECCOMP_RET_USER_NOTIF;
            }
        }
        Ok(Self { asking, others })
    }

    /// Puts the filter on the calling thread and what it forks, for good; where questions come.
    pub fn install(&self) -> io::Result<Listener> {
        let listener = listener::install(&self.asking)?;
        self.others.install()?;
        Ok(listener)
    }
}

/// Lets through what is allowed with some arguments at least.
fn known() -> io::Result<BpfProgram> {
    let guarded = GUARDED.iter().chain([&JOINING_SANDBOXES]).map(|guard| &guard.call);
    let all = ALLOWED.iter().copied().flatten().chain(guarded);
    let rules = all.map(|call| (*call, Vec::new())).collect();
    compile(rules, SeccompAction::Allow, error(libc::ENOSYS))
}

fn refused() -> io::Result<Rules> {
    let whole =
        REFUSED.iter().flat_map(|refusal| refusal.calls).map(|call| Ok((*call, Vec::new())));
    whole.chain(GUARDED.iter().map(guarded)).collect()
}

fn refusing(rules: Rules) -> io::Result<BpfProgram> {
    compile(rules, error(libc::EPERM), SeccompAction::Allow)
}

fn error(errno: i32) -> SeccompAction {
    SeccompAction::Errno(errno.cast_unsigned())
}

fn guarded(guard: &Guard) -> io::Result<(c_long, Vec<SeccompRule>)> {
    let rules = guard.refused.iter().map(|tests| {
        let conditions = tests.iter().map(condition).collect::<Result<_, _>>()?;
        SeccompRule::new(conditions)
    });
    Ok((guard.call, rules.collect::<Result<_, _>>().map_err(invalid)?))
}

fn condition(test: &Test) -> Result<SeccompCondition, BackendError> {
    let (operator, value) = match test.is {
        Is::Equal(value) => (SeccompCmpOp::Eq, value),
        Is::Other(value) => (SeccompCmpOp::Ne, value),
        Is::Masked(mask, bits) => (SeccompCmpOp::MaskedEq(mask.into()), bits),
    };
    SeccompCondition::new(test.argument, SeccompCmpArgLen::Dword, operator, value.into())
}

fn compile(rules: Rules, named: SeccompAction, others: SeccompAction) -> io::Result<BpfProgram> {
    let here = TargetArch::try_from(std::env::consts::ARCH).map_err(invalid)?;
    let filter = SeccompFilter::new(rules, others, named, here).map_err(invalid)?;
    filter.try_into().map_err(invalid)
}

fn invalid(error: BackendError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};

    #[test]
    fn no_call_is_in_two_lists() {
        let mut seen = BTreeSet::new();
        let guarded = GUARDED.iter().map(|guard| &guard.call);
        let refused = REFUSED.iter().chain([&JOINING]).flat_map(|refusal| refusal.calls);
        for call in ALLOWED.iter().copied().flatten().chain(refused).chain(guarded) {
            assert!(seen.insert(*call), "{call}");
        }
        assert!(!seen.contains(&libc::SYS_clone3));
    }

    /// Answer of `check` in a process with the filter: 0 if all was well.
    fn under(filter: &Filter, check: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child makes system calls only, and ends.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, code) => code,
                other => panic!("{other:?}"),
            },
            nix::unistd::ForkResult::Child => {
                let code = if filter.install().is_ok() { check() } else { 255 };
                // SAFETY: ends this process alone.
                unsafe { libc::_exit(code) }
            }
        }
    }

    /// The errno of a call with these arguments, 0 if it is let through.
    fn errno(call: c_long, arguments: [i64; 3]) -> i32 {
        let [first, second, third] = arguments;
        // SAFETY: only calls that have no effect with these arguments are made.
        let answer = unsafe { libc::syscall(call, first, second, third, 0, 0, 0) };
        if answer < 0 { io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
    }

    #[test]
    fn arguments_decide_and_their_upper_halves_do_not() {
        let function = Filter::of_function().unwrap();
        let zygote = ZygoteFilter::compile().unwrap().others;
        let all = i64::from(crate::privilege::NAMESPACES.bits());
        let with_network = all | i64::from(libc::CLONE_NEWNET);
        let cases = |joins: i32| {
            move || {
                let expected = [
                    (libc::SYS_setns, [-1, all, 0], joins),
                    (libc::SYS_setns, [-1, with_network, 0], joins),
                    (libc::SYS_setns, [-1, libc::CLONE_NEWUSER.into(), 0], libc::EPERM),
                    (libc::SYS_setns, [-1, 0, 0], libc::EPERM),
                    (libc::SYS_unshare, [0, 0, 0], libc::EPERM),
                    (libc::SYS_clone, [libc::CLONE_NEWUSER.into(), 0, 0], libc::EPERM),
                    (libc::SYS_clone, [libc::CLONE_FILES.into(), 0, 0], libc::EPERM),
                    (libc::SYS_clone3, [0, 0, 0], libc::ENOSYS),
                    (libc::SYS_rseq, [0, 0, 0], libc::ENOSYS),
                    (999, [0, 0, 0], libc::ENOSYS),
                    (0x4000_0000, [0, 0, 0], libc::ENOSYS),
                    (libc::SYS_ioctl, [-1, 0x5412, 0], libc::EPERM),
                    (libc::SYS_ioctl, [-1, 0x1_0000_5412, 0], libc::EPERM),
                    (libc::SYS_ioctl, [-1, 0x5413, 0], libc::EBADF),
                    (libc::SYS_personality, [0xffff_ffff, 0, 0], 0),
                    (libc::SYS_personality, [8, 0, 0], libc::EPERM),
                    (libc::SYS_socket, [libc::AF_PACKET.into(), 3, 0], libc::EPERM),
                    (libc::SYS_socket, [libc::AF_INET.into(), 0x80003, 1], libc::EPERM),
                    (libc::SYS_socket, [libc::AF_INET.into(), 0x80001, 0], 0),
                    (libc::SYS_socket, [libc::AF_NETLINK.into(), 3, 0], 0),
                    (libc::SYS_socket, [libc::AF_NETLINK.into(), 3, 12], libc::EPERM),
                ];
                let wrong = expected
                    .iter()
                    .position(|(call, arguments, error)| errno(*call, *arguments) != *error);
                wrong.map_or(0, |at| i32::try_from(at).unwrap_or(254) + 1)
            }
        };
        assert_eq!(under(&function, cases(libc::EPERM)), 0, "which of the cases, from 1 on");
        assert_eq!(under(&zygote, cases(libc::EBADF)), 0, "which of the cases, from 1 on");
        let entered = Filter::of_entered().unwrap();
        let tightened = || if entered.install().is_ok() { cases(libc::EPERM)() } else { 255 };
        assert_eq!(under(&zygote, tightened), 0, "which of the cases, from 1 on");
    }
}

//! Arrival of a program: the time between its exec and its first instruction.
//!
//! An exec makes a process's saved user its effective one, so a process that is to have another saved user gets it
//! after the exec, with a capability that no instruction of the program may have. The process is traced, and made to do
//! the two system calls for it, before it does anything of its own.

use std::io;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::passage::OWNER;
use crate::privilege::{CAPABILITY_VERSION, INSIDE};

/// Bytes below the stack's end that a program may use without saying so, and then some.
const UNTOUCHED: u64 = 512;

/// A system call and then a breakpoint.
#[cfg(target_arch = "x86_64")]
const CALL_AND_STOP: [u8; 3] = [0x0f, 0x05, 0xcc];
#[cfg(target_arch = "aarch64")]
const CALL_AND_STOP: [u8; 8] = [0x01, 0x00, 0x00, 0xd4, 0x00, 0x00, 0x20, 0xd4];

/// Has this process stop a child of its own when that executes a program, and has the child end should this process
/// end. The child must wait until this has returned.
pub fn await_exec(child: Pid) -> io::Result<()> {
    Ok(ptrace::seize(child, Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL)?)
}

/// Gives the program that a child has executed, which [`await_exec`] was called for, the owner of sandboxes as its
/// saved user, takes all capabilities away from it, and lets it begin.
///
/// Errors where the child has ended instead.
pub fn give_owner(child: Pid) -> io::Result<()> {
    match waitpid(child, None)? {
        WaitStatus::PtraceEvent(_, Signal::SIGTRAP, libc::PTRACE_EVENT_EXEC) => {}
        other => return Err(unexpected(other)),
    }
    // It is inside of exec still, whose end would overwrite a register.
    ptrace::syscall(child, None)?;
    await_trap(child)?;
    let begin = ptrace::getregset::<ptrace::regset::NT_PRSTATUS>(child)?;
    let (place, stack) = places(&begin);
    let text = ptrace::read(child, at(place))?;
    let mut patched = text.to_ne_bytes();
    patched[..CALL_AND_STOP.len()].copy_from_slice(&CALL_AND_STOP);
    ptrace::write(child, at(place), libc::c_long::from_ne_bytes(patched))?;
    let memory = (stack - UNTOUCHED) & !15;
    // A header that means the process itself, and empty sets.
    for (word, value) in [i64::from(CAPABILITY_VERSION), 0, 0, 0].into_iter().enumerate() {
        ptrace::write(child, at(memory + word as u64 * 8), value)?;
    }
    let inside = u64::from(INSIDE);
    for (call, arguments) in [
        (libc::SYS_setresuid, [inside, inside, OWNER.into()]),
        (libc::SYS_capset, [memory, memory + 8, 0]),
    ] {
        ptrace::setregset::<ptrace::regset::NT_PRSTATUS>(child, calling(begin, call, arguments))?;
        ptrace::cont(child, None)?;
        await_trap(child)?;
        let answer = answer(&ptrace::getregset::<ptrace::regset::NT_PRSTATUS>(child)?);
        if answer != 0 {
            return Err(io::Error::from_raw_os_error(i32::try_from(-answer).unwrap_or(libc::EIO)));
        }
    }
    ptrace::write(child, at(place), text)?;
    ptrace::setregset::<ptrace::regset::NT_PRSTATUS>(child, begin)?;
    Ok(ptrace::detach(child, None)?)
}

fn await_trap(child: Pid) -> io::Result<()> {
    match waitpid(child, None)? {
        WaitStatus::Stopped(_, Signal::SIGTRAP) => Ok(()),
        other => Err(unexpected(other)),
    }
}

fn unexpected(status: WaitStatus) -> io::Error {
    io::Error::other(format!("the program did not begin: {status:?}"))
}

fn at(address: u64) -> ptrace::AddressType {
    std::ptr::without_provenance_mut(usize::try_from(address).unwrap_or(0))
}

/// Address at which it goes on, and the end of its stack.
#[cfg(target_arch = "x86_64")]
fn places(registers: &libc::user_regs_struct) -> (u64, u64) {
    (registers.rip, registers.rsp)
}

#[cfg(target_arch = "x86_64")]
fn calling(
    mut registers: libc::user_regs_struct,
    call: libc::c_long,
    [first, second, third]: [u64; 3],
) -> libc::user_regs_struct {
    registers.rax = call.cast_unsigned();
    // It is in no call that could be begun again.
    registers.orig_rax = u64::MAX;
    (registers.rdi, registers.rsi, registers.rdx) = (first, second, third);
    registers
}

#[cfg(target_arch = "x86_64")]
fn answer(registers: &libc::user_regs_struct) -> i64 {
    registers.rax.cast_signed()
}

/// Address at which it goes on, and the end of its stack.
#[cfg(target_arch = "aarch64")]
fn places(registers: &libc::user_regs_struct) -> (u64, u64) {
    (registers.pc, registers.sp)
}

#[cfg(target_arch = "aarch64")]
fn calling(
    mut registers: libc::user_regs_struct,
    call: libc::c_long,
    [first, second, third]: [u64; 3],
) -> libc::user_regs_struct {
    registers.regs[8] = call.cast_unsigned();
    registers.regs[..3].copy_from_slice(&[first, second, third]);
    registers
}

#[cfg(target_arch = "aarch64")]
fn answer(registers: &libc::user_regs_struct) -> i64 {
    registers.regs[0].cast_signed()
}
